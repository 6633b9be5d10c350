package member

import "io"

// source counts what is read of the stream and keeps the bytes of the headers.
type source struct {
	r       io.Reader
	err     error  // of r
	at      int64  // the place in the stream
	keeping bool   // whether what is read goes into kept
	kept    []byte // the headers of the present member
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.at += int64(n)
	s.err = err
	if s.keeping {
		s.kept = append(s.kept, p[:n]...)
	}
	return n, err
}

func (s *source) keep() { s.keeping, s.kept = true, s.kept[:0] }

// skipTo reads up to the place end of the stream, io.ErrUnexpectedEOF if it is shorter.
func (s *source) skipTo(end int64) error {
	if s.at >= end {
		return nil
	}
	_, err := io.CopyN(io.Discard, s, end-s.at)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
