package blob

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	kgzip "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"berth/rootfs/layer/blob/inflate"
)

// sample is what layers are made of: 64 MiB of this system's programs and libraries.
var sample = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	_ = filepath.WalkDir("/usr", func(path string, e fs.DirEntry, err error) error {
		if b.Len() >= 64<<20 {
			return fs.SkipAll
		}
		if err == nil && e.Type().IsRegular() {
			if content, err := os.ReadFile(path); err == nil {
				b.Write(content)
			}
		}
		return nil
	})
	return b.Bytes()
})

// measure reports MB/s of the tar stream, and seconds of processor time for a gigabyte of it.
func measure(b *testing.B, step func() error) {
	b.SetBytes(int64(len(sample())))
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := step(); err != nil {
			b.Fatal(err)
		}
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	seconds := func(r unix.Rusage) float64 { return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9 }
	b.ReportMetric((seconds(after)-seconds(before))/float64(b.N)/float64(len(sample()))*1e9, "cpu-s/GB")
}

func BenchmarkSHA256(b *testing.B) {
	measure(b, func() error { sha256.Sum256(sample()); return nil })
}

func BenchmarkGunzipStandard(b *testing.B) {
	stored := gzipped(b, sample())
	measure(b, func() error {
		z, err := gzip.NewReader(bytes.NewReader(stored))
		if err == nil {
			_, err = io.Copy(io.Discard, z)
		}
		return err
	})
}

func BenchmarkGunzipKlauspost(b *testing.B) {
	stored := gzipped(b, sample())
	measure(b, func() error {
		z, err := kgzip.NewReader(bytes.NewReader(stored))
		if err == nil {
			_, err = io.Copy(io.Discard, z)
		}
		return err
	})
}

func BenchmarkGunzip(b *testing.B) {
	stored := gzipped(b, sample())
	measure(b, func() error {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, inflate.NewReader(bytes.NewReader(stored)), make([]byte, 256<<10))
		return err
	})
}

func BenchmarkUnzstd(b *testing.B) {
	stored := zstded(b, sample())
	measure(b, func() error {
		z, err := zstd.NewReader(bytes.NewReader(stored), zstd.WithDecoderConcurrency(1))
		if err == nil {
			_, err = io.Copy(io.Discard, z)
			z.Close()
		}
		return err
	})
}

func BenchmarkReader(b *testing.B) {
	for name, stored := range map[string][]byte{"plain": sample(), "gzip": gzipped(b, sample()), "zstd": zstded(b, sample())} {
		b.Run(name, func(b *testing.B) {
			measure(b, func() error {
				r, err := NewReader(bytes.NewReader(stored), Options{})
				if err != nil {
					return err
				}
				defer r.Close()
				_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 256<<10))
				return err
			})
		})
	}
}

func BenchmarkWriter(b *testing.B) {
	for _, c := range []Compression{Plain, Gzip, Zstd} {
		b.Run("to "+string(c), func(b *testing.B) {
			measure(b, func() error {
				w, err := NewWriter(io.Discard, c, 0)
				if err != nil {
					return err
				}
				if _, err := w.Write(sample()); err != nil {
					return err
				}
				return w.Close()
			})
		})
	}
}
