package image

import "fmt"

// A Holey file knows where it has no data.
type Holey interface {
	// NextData returns where data begins at off or behind it, and where that
	// ends; begin is the file's size if there is none.
	NextData(off int64) (begin, end int64, err error)
}

// raw is an image that is the disk itself.
type raw struct {
	f          File
	size       int64
	holes      Holey // nil: not known
	begin, end int64 // data found last
}

func openRaw(f File) (Image, error) {
	if f.Size() <= 0 {
		return nil, bad(Raw, "it is empty")
	}
	if f.Size() > maxSize {
		return nil, bad(Raw, "%d bytes are more than can be", f.Size())
	}
	r := &raw{f: f, size: f.Size()}
	r.holes, _ = f.(Holey)
	return r, nil
}

func (r *raw) Format() string { return Raw }
func (r *raw) Size() int64    { return r.size }

func (r *raw) Extent(off int64) (int64, bool, error) {
	if r.holes == nil {
		return r.size - off, false, nil
	}
	if off < r.begin || off >= r.end {
		var err error
		if r.begin, r.end, err = r.holes.NextData(off); err != nil {
			return 0, false, fmt.Errorf("cannot find the image's holes: %w", err)
		}
		// A file that has changed must not lead astray.
		r.begin = max(off, min(r.begin, r.size))
		r.end = max(r.begin, min(r.end, r.size))
	}
	if off < r.begin {
		n := r.begin - off
		r.begin, r.end = 0, 0 // asked again there
		return n, true, nil
	}
	if r.end <= off { // it shrank
		return 0, false, bad(Raw, "the file has changed its size")
	}
	return r.end - off, false, nil
}

func (r *raw) ReadAt(p []byte, off int64) (int, error) {
	if err := checkRange(r, p, off); err != nil {
		return 0, err
	}
	if err := readFull(r.f, Raw, "data", p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}
