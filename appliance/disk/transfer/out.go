package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"unsafe"

	"sanstick/appliance/image"
	"sanstick/appliance/image/stream"
	"sanstick/appliance/sys"
)

// Content gives a volume's content from its beginning. It ends with ctx. Data
// are the only parts that are read, in ascending order; all else must be zeros.
// One Range of the whole size is always right.
func Content(ctx context.Context, d Device, data []Range) (image.Source, error) {
	i, err := image.Open(&sparseFile{volumeFile{ctx, d}, data}, "", image.Raw, nil)
	if err != nil {
		return nil, err
	}
	return image.FromImage(i, 0), nil
}

// sparseFile is a volume of which it is known where it has data.
type sparseFile struct {
	volumeFile
	data []Range
}

var _ image.Holey = (*sparseFile)(nil)

// NextData implements image.Holey.
func (f *sparseFile) NextData(off int64) (begin, end int64, err error) {
	i := sort.Search(len(f.data), func(i int) bool { return f.data[i].Off+f.data[i].Len > off })
	if i == len(f.data) {
		return f.Size(), f.Size(), nil
	}
	return f.data[i].Off, f.data[i].Off + f.data[i].Len, nil // chunks may reach beyond the end
}

// volumeFile reads a volume into any memory.
type volumeFile struct {
	ctx context.Context
	Device
}

func (f volumeFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	if len(p)%sector == 0 && off%sector == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%sector == 0 {
		return f.Device.ReadAt(p, off)
	}
	return anywhere{f.Device}.ReadAt(p, off)
}

// A Range is a part of a volume, in bytes.
type Range struct{ Off, Len int64 }

// WriteChanges writes what is in the ranges of a device as an incremental
// stream. They are in ascending order.
func WriteChanges(ctx context.Context, w io.Writer, h stream.Header, d Device, changed []Range) error {
	out, err := stream.NewWriter(w, h)
	if err != nil {
		return err
	}
	buf := sys.AlignedBuffer(image.Window)
	for _, r := range changed {
		end := min(r.Off+r.Len, d.Size()) // chunks may reach beyond the end
		for at := r.Off; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			p := buf[:min(end-at, image.Window)]
			if _, err := d.ReadAt(p, at); err != nil {
				return fmt.Errorf("cannot read the volume at byte %d: %w", at, err)
			}
			err := image.Pieces(p, func(off int, run []byte, zero bool) error {
				if zero {
					return out.Zeros(at+int64(off), int64(len(run)))
				}
				return out.Data(at+int64(off), run)
			})
			if err != nil {
				return err
			}
			at += int64(len(p))
		}
	}
	return out.Close(d.Size())
}

// Differences compares two devices by what they hold: for when nothing else
// tells where they differ.
func Differences(ctx context.Context, a, b Device) ([]Range, error) {
	var all []Range
	x, y := sys.AlignedBuffer(image.Window), sys.AlignedBuffer(image.Window)
	for at := int64(0); at < b.Size(); at += image.Window {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(b.Size()-at, image.Window)
		if _, err := b.ReadAt(y[:n], at); err != nil {
			return nil, fmt.Errorf("cannot read the volume at byte %d: %w", at, err)
		}
		clear(x) // a may be smaller
		if m := min(a.Size()-at, n); m > 0 {
			if _, err := a.ReadAt(x[:m], at); err != nil {
				return nil, fmt.Errorf("cannot read the volume at byte %d: %w", at, err)
			}
		}
		for off := int64(0); off < n; off += image.PieceSize {
			end := min(n, off+image.PieceSize)
			if bytes.Equal(x[off:end], y[off:end]) {
				continue
			}
			if k := len(all); k > 0 && all[k-1].Off+all[k-1].Len == at+off {
				all[k-1].Len += end - off
			} else {
				all = append(all, Range{at + off, end - off})
			}
		}
	}
	return all, nil
}

// Apply writes what an incremental stream holds to a device, whose content must
// be what the stream builds on, or that with a part of the stream applied. When
// it returns without an error all of it is on stable storage. tell may be nil.
func Apply(ctx context.Context, d Device, s *stream.Reader, tell func(at int64)) error {
	if s.Size > d.Size() {
		return fits(s.Size, d.Size())
	}
	buf := sys.AlignedBuffer(stream.MaxData)
	for {
		rec, err := s.Next()
		if errors.Is(err, io.EOF) {
			if err := fits(s.Size, d.Size()); err != nil {
				return err
			}
			return flush(d)
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if rec.Off%sector != 0 || rec.Len%sector != 0 || rec.Off+rec.Len > d.Size() {
			return fmt.Errorf("the stream has %d bytes at %d, which this volume can't take", rec.Len, rec.Off)
		}
		if rec.Zero {
			err = zero(ctx, d, rec.Off, rec.Len, buf)
		} else if _, err = io.ReadFull(s, buf[:rec.Len]); err == nil {
			if _, err = d.WriteAt(buf[:rec.Len], rec.Off); err != nil {
				err = fmt.Errorf("cannot write to the volume at byte %d: %w", rec.Off, err)
			}
		}
		if err != nil {
			return err
		}
		if tell != nil {
			tell(rec.Off + rec.Len)
		}
	}
}

// Empty discards everything in a volume, as far as it takes that.
func Empty(ctx context.Context, d Device) error {
	const step = 1 << 30
	for off := int64(0); off < d.Size(); off += step {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.Discard(off, min(step, d.Size()-off)); err != nil {
			return err
		}
	}
	return flush(d)
}
