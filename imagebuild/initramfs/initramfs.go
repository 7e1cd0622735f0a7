// Package initramfs makes the stick's root file system: our own programs and u-root's commands in one binary (built by
// the mkuimage library), LVM's tools with their libraries, the kernel modules, and the directories and device nodes a
// kernel needs to start the first program.
//
// The result is one cpio archive compressed with zstd. Equal inputs give an equal file.
package initramfs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/mkuimage/cpio"
	"github.com/u-root/mkuimage/uimage"
	"github.com/u-root/mkuimage/uimage/initramfs"
	"github.com/u-root/uio/llog"

	"sanstick/imagebuild/progress"
)

// own are the programs of this project that go into the image, as directories of the module.
var own = [...]string{
	"init", "init/cmd/modprobe", "init/cmd/poweroff", "init/cmd/reboot",
	"appliance/cmd/appliance", "appliance/cmd/sanctl",
}

// A File is one file of the image.
type File struct {
	Name string // path in the image, no leading slash
	Path string // host file with the content, or empty and
	Data []byte // the content itself
	Mode uint32 // permission bits
	Link string // if not empty: a symbolic link to this
	Dir  bool   // a directory
}

// Options says what to build.
type Options struct {
	Source string // root of the sanstick module
	TmpDir string // a directory for building that this call may empty
	Out    string // the file to write
	Files  []File // what comes with the programs
	Added  []File // see Added; nothing else of the image is overwritten by them
	Log    *progress.Log
}

// Build writes the initramfs to o.Out. If that is there and was made of the very same inputs, it stays as it is.
func Build(ctx context.Context, o Options) error {
	for _, d := range own {
		if m, _ := filepath.Glob(filepath.Join(o.Source, d, "*.go")); len(m) == 0 {
			return fmt.Errorf("cannot build the initramfs: there is no program in %s", filepath.Join(o.Source, d))
		}
	}
	bb := &busybox{ctx: ctx, source: o.Source}
	packages, err := commands(bb)
	if err != nil {
		return err
	}
	if o.Added, err = fits(slices.Concat(programFiles(packages), o.Files), o.Added); err != nil {
		return err
	}
	key, err := inputKey(bb, o)
	if err != nil {
		return err
	}
	if upToDate(o.Out, key) {
		o.Log.Step("the initramfs is up to date")
		return nil
	}
	if err := os.RemoveAll(o.TmpDir); err != nil {
		return fmt.Errorf("cannot empty the build directory: %w", err)
	}
	if err := os.MkdirAll(o.TmpDir, 0o755); err != nil {
		return fmt.Errorf("cannot make the build directory: %w", err)
	}
	defer os.RemoveAll(o.TmpDir)
	env, err := environ(ctx, o.Source)
	if err != nil {
		return err
	}
	base, err := cpio.ArchiveFromRecords(skeleton())
	if err != nil {
		return fmt.Errorf("cannot lay out the root file system: %w", err)
	}
	for _, f := range slices.Concat(o.Files, o.Added) {
		r, err := f.record()
		if err != nil {
			return err
		}
		if _, dup := base.Get(f.Name); dup {
			return fmt.Errorf("cannot add /%s to the image twice", f.Name)
		}
		if err := base.WriteRecord(r); err != nil {
			return fmt.Errorf("cannot add /%s to the image: %w", f.Name, err)
		}
	}
	o.Log.Step("compiling init, appliance, sanctl and the shell's commands (a minute the first time)")
	opts, err := uimage.OptionsFor(uimage.WithReplaceEnv(env), uimage.WithTempDir(o.TmpDir), uimage.WithSkipLDD(),
		uimage.WithInit("init"), uimage.WithShell("gosh"))
	if err != nil {
		return fmt.Errorf("cannot set up the image: %w", err)
	}
	opts.AddCommands(uimage.Commands{Builder: bb, Packages: packages})
	opts.BaseArchive = &initramfs.Archive{Archive: base}
	out := &compressed{ctx: ctx, path: o.Out, log: o.Log}
	defer out.cleanup()
	opts.OutputFile = out
	l := llog.New(slog.LevelError, func(format string, args ...any) { o.Log.Step(format, args...) })
	if err := opts.Create(l); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("cannot build the initramfs: %w", err)
	}
	return rememberKey(o.Out, key)
}

// commands lists the directories of our programs and the import paths of u-root's: those that go.mod names as tools, what
// a person at the emergency shell expects.
func commands(bb *busybox) ([]string, error) {
	var out []string
	for _, d := range own {
		out = append(out, filepath.Join(bb.source, d))
	}
	tools, err := bb.goOutput("list", "tool")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(tools)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "github.com/u-root/u-root/cmds/") {
			out = append(out, line)
		}
	}
	return out, nil
}

// environ is the Go environment for programs of the image.
func environ(ctx context.Context, source string) (*golang.Environ, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = source
	goroot, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot find the Go toolchain: %w", err)
	}
	return golang.Default(golang.DisableCGO(), golang.WithGOOS("linux"), golang.WithGOARCH("amd64"),
		golang.WithGOROOT(strings.TrimSpace(string(goroot))), golang.WithWorkingDir(source),
		golang.WithBuildTag(buildTags)), nil
}

// skeleton is what must exist before init has run a single line.
func skeleton() []cpio.Record {
	return []cpio.Record{
		cpio.Directory("dev", 0o755),
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.Directory("etc", 0o755),
		cpio.Directory("proc", 0o555),
		cpio.Directory("root", 0o700),
		cpio.Directory("run", 0o755),
		cpio.Directory("stick", 0o755),
		cpio.Directory("sys", 0o555),
		cpio.Directory("tmp", 0o777|cpio.S_ISVTX),
	}
}

func (f File) record() (cpio.Record, error) {
	if f.Dir {
		return cpio.Directory(f.Name, uint64(f.Mode)), nil
	}
	if f.Link != "" {
		return cpio.Symlink(f.Name, f.Link), nil
	}
	data := f.Data
	if f.Path != "" {
		var err error
		if data, err = os.ReadFile(f.Path); err != nil {
			return cpio.Record{}, fmt.Errorf("cannot add /%s to the image: %w", f.Name, err)
		}
	}
	return cpio.StaticRecord(data, cpio.Info{Name: f.Name, Mode: cpio.S_IFREG | uint64(f.Mode)}), nil
}

// compressed is an initramfs.WriteOpener: a cpio archive in a zstd frame, in a file that appears when it is complete.
type compressed struct {
	ctx  context.Context // as in busybox
	path string
	log  *progress.Log
	file *renameio.PendingFile
	enc  *zstd.Encoder
	cpio.RecordWriter
}

// OpenWriter implements initramfs.WriteOpener.
func (c *compressed) OpenWriter() (initramfs.Writer, error) {
	c.log.Step("compressing the initramfs")
	f, err := renameio.NewPendingFile(c.path, renameio.WithPermissions(0o644))
	if err != nil {
		return nil, fmt.Errorf("cannot write the initramfs: %w", err)
	}
	c.file = f
	// One encoder goroutine: the output must not depend on the number of processors.
	if c.enc, err = zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1)); err != nil {
		return nil, fmt.Errorf("cannot compress the initramfs: %w", err)
	}
	c.RecordWriter = cpio.Newc.Writer(c.enc)
	return c, nil
}

// WriteRecord implements cpio.RecordWriter.
func (c *compressed) WriteRecord(r cpio.Record) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	return c.RecordWriter.WriteRecord(cpio.MakeReproducible(r))
}

// Finish implements initramfs.Writer.
func (c *compressed) Finish() error {
	if err := cpio.WriteTrailer(c.RecordWriter); err != nil {
		return fmt.Errorf("cannot finish the initramfs: %w", err)
	}
	if err := c.enc.Close(); err != nil {
		return fmt.Errorf("cannot finish the initramfs: %w", err)
	}
	if err := c.file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("cannot finish the initramfs: %w", err)
	}
	return nil
}

// cleanup removes what an unfinished build has left.
func (c *compressed) cleanup() {
	if c.file != nil {
		_ = c.file.Cleanup() // does nothing after a finished build
	}
}
