package supervise

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// WritePidFile writes pid in decimal, without a newline, to path. Managers
// wait for the file to appear and read it at once, so it appears complete: it
// is written as ".NAME" beside it and renamed.
func WritePidFile(path string, pid int) error {
	dir, name := filepath.Split(path)
	temp := filepath.Join(dir, "."+name)
	if err := writeNew(temp, strconv.Itoa(pid)); err != nil {
		return fail(err, "write pid file", path)
	}
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return fail(err, "write pid file", path)
	}
	return nil
}

// writeNew writes to a file that is nobody else's: O_EXCL follows no link that
// somebody has put there. What a crashed runtime has left is removed.
func writeNew(path, text string) error {
	f, err := createNew(path)
	if errors.Is(err, fs.ErrExist) && os.Remove(path) == nil {
		f, err = createNew(path)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
	}
	return err
}

func createNew(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}
