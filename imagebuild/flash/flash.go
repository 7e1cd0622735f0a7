package flash

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"sanstick/appliance/bootdisk"
	"sanstick/appliance/config"
	"sanstick/appliance/image/gpt"
	"sanstick/imagebuild/stick"
)

// Options says what to write where.
type Options struct {
	Host    Host
	Device  string    // "/dev/sdb", or a link to it
	Image   string    // the image file
	Discard bool      // don't keep the configuration of a stick that was one before
	KeepDir string    // for a copy of the configuration that is kept, and for the image with it in
	In      io.Reader // the person's answer
	Out     io.Writer
}

// Run writes the image. Until the person has typed the serial number, nothing is written.
func Run(ctx context.Context, o Options) error {
	d, err := o.candidate()
	if err != nil {
		return err
	}
	fi, err := os.Stat(o.Image)
	if err != nil {
		return fmt.Errorf("cannot find the image: %w", err)
	}
	if d.Size < fi.Size() {
		return fmt.Errorf("cannot write to %s: it has %d bytes, the image needs %d", d.Name, d.Size, fi.Size())
	}
	// Exclusive: the kernel refuses a disk that somebody else has opened so, as mounting does.
	dev, err := os.OpenFile(o.Device, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("cannot open the stick: %w", err)
	}
	if err = same(dev, d); err == nil {
		err = o.onto(ctx, dev, d)
	}
	return errors.Join(err, dev.Close())
}

// same refuses a device that isn't the disk that was looked at: another one may have got its name meanwhile.
func same(dev *os.File, d Disk) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dev.Fd()), &st); err != nil {
		return fmt.Errorf("cannot tell which disk %s is: %w", d.Name, err)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	if st.Mode&unix.S_IFMT == unix.S_IFBLK && number != d.Number {
		return fmt.Errorf("cannot write to %s: it is another disk now", d.Name)
	}
	return nil
}

// candidate finds the disk that o.Device is, and refuses it if it is none to write to.
func (o Options) candidate() (Disk, error) {
	path, err := filepath.EvalSymlinks(o.Device)
	if err != nil {
		return Disk{}, fmt.Errorf("cannot find the stick: %w", err)
	}
	disks, err := o.Host.Disks()
	if err != nil {
		return Disk{}, err
	}
	for _, d := range disks {
		if d.Name != filepath.Base(path) {
			continue
		}
		if d.Refused != "" {
			return Disk{}, fmt.Errorf("cannot write to %s: %s", o.Device, d.Refused)
		}
		return d, nil
	}
	return Disk{}, fmt.Errorf("cannot write to %s: it is no disk of this machine (a partition?)", o.Device)
}

// onto does all that is done with the open stick.
func (o Options) onto(ctx context.Context, dev *os.File, d Disk) error {
	kept, err := o.kept(dev)
	if err != nil {
		return err
	}
	image, err := o.prepare(kept, d)
	if err != nil {
		return err
	}
	defer image.remove()
	what := "ALL THAT IS ON IT IS LOST"
	if len(kept) > 0 {
		what = fmt.Sprintf("Its configuration is kept (a copy is in %s); all else on it is lost", o.keepFile(d))
	}
	fmt.Fprintf(o.Out, "%s: %s, %.1f GB, serial number %s\n%s.\n", o.Device, orUnknown(d.Model), float64(d.Size)/1e9, orUnknown(d.Serial), what)
	switch d.Confirm {
	case d.Serial:
		fmt.Fprint(o.Out, "Type its serial number to write to it: ")
	default:
		fmt.Fprintf(o.Out, "It has no serial number of its own. Type its name (%s) to write to it: ", d.Confirm)
	}
	answer, err := bufio.NewReader(io.LimitReader(o.In, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	if strings.TrimSpace(answer) != d.Confirm {
		return errors.New("nothing was written: that isn't it")
	}
	if ctx.Err() != nil {
		return errors.New("nothing was written: interrupted")
	}
	if err := transfer(ctx, dev, image.file, image.size, o.Out); err != nil {
		return fmt.Errorf("%s can't be started from as it is now; write the image again: %w", o.Device, err)
	}
	r, err := bootdisk.Fit(sized{dev, d.Size}, func(gpt.Partition) error { return nil })
	if err == nil {
		err = reread(dev)
	}
	if err != nil {
		return fmt.Errorf("the image is on %s, but its partitions couldn't be fitted to it: %w", o.Device, err)
	}
	for _, said := range r.Said {
		fmt.Fprintf(o.Out, "%s\n", said)
	}
	fmt.Fprintf(o.Out, "%s is ready: written, and read back without a difference.\n", o.Device)
	return nil
}

// kept returns the files of a stick's configuration that outlive writing the image: appliance.toml, and what the
// appliance knows about its disks.
func (o Options) kept(dev *os.File) ([]stick.File, error) {
	if o.Discard {
		return nil, nil
	}
	files, was, err := stick.ConfigFiles(dev)
	if !was {
		return nil, nil
	}
	const or = "mend it on any PC, or use --discard-config to lose it"
	if err != nil {
		return nil, fmt.Errorf("cannot keep the configuration of this stick: %w; %s", err, or)
	}
	var keep []stick.File
	for _, f := range files {
		switch {
		case f.Name == stick.ConfigFile:
			if _, err := config.Parse(stick.ConfigFile, f.Data); err != nil {
				return nil, fmt.Errorf("cannot keep the configuration of this stick, which has errors:\n%w\n%s", err, or)
			}
			keep = append(keep, f)
		case strings.HasPrefix(f.Name, "sanstick/"):
			keep = append(keep, f)
		}
	}
	return keep, nil
}

func (o Options) keepFile(d Disk) string {
	name := strings.Map(plain, orUnknown(d.Serial))
	if d.Confirm != d.Serial {
		name += "-" + d.Name
	}
	return filepath.Join(o.KeepDir, "appliance-"+name+".toml")
}

// plain replaces what is better not in the name of a file.
func plain(r rune) rune {
	if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' {
		return r
	}
	return '_'
}

// source is the image that is written.
type source struct {
	file *os.File
	size int64
	temp string // its name, if it was made for this
}

func (s source) remove() {
	s.file.Close()
	if s.temp != "" {
		os.Remove(s.temp)
	}
}

// prepare opens the image, or a copy of it with the files that are kept; those are saved first.
func (o Options) prepare(kept []stick.File, d Disk) (s source, err error) {
	path := o.Image
	if len(kept) > 0 {
		// There are secrets in it. A file system without permissions can't keep them from anybody.
		err := os.MkdirAll(o.KeepDir, 0o700)
		if err == nil {
			err = os.Chmod(o.KeepDir, 0o700)
		}
		if err != nil && !errors.Is(err, unix.EPERM) {
			return s, fmt.Errorf("cannot keep the configuration: %w", err)
		}
		for _, f := range kept {
			if f.Name == stick.ConfigFile {
				if err := renameio.WriteFile(o.keepFile(d), f.Data, 0o600); err != nil {
					return s, fmt.Errorf("cannot keep the configuration: %w", err)
				}
			}
		}
		s.temp = filepath.Join(o.KeepDir, "flash.img.tmp")
		path = s.temp
		defer func() {
			if err != nil {
				os.Remove(s.temp)
			}
		}()
		if err := stick.WithFiles(o.Image, path, kept); err != nil {
			return s, err
		}
	}
	if s.file, err = os.Open(path); err != nil {
		return s, fmt.Errorf("cannot open the image: %w", err)
	}
	fi, err := s.file.Stat()
	if err != nil {
		return s, errors.Join(fmt.Errorf("cannot open the image: %w", err), s.file.Close())
	}
	s.size = fi.Size()
	return s, nil
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// sized is an open disk as a gpt.Disk.
type sized struct {
	*os.File
	size int64
}

// Size implements gpt.Disk.
func (s sized) Size() int64 { return s.size }
