package initramfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/gobusybox/src/pkg/bb"
	"github.com/u-root/mkuimage/cpio"
	"github.com/u-root/mkuimage/uimage/builder"
	"github.com/u-root/mkuimage/uimage/initramfs"
	"github.com/u-root/uio/llog"
)

// binDir is where the commands lie in the image.
const binDir = "bbin"

// buildTags go to everything that is compiled for the image. goshliner gives the shell a line editor that asks nothing
// of the terminal; the other one waits for answers that a serial console doesn't give.
const buildTags = "goshliner"

// busybox is a builder.Builder: it compiles all commands into one program, with a link for each. gobusybox rewrites the
// commands into packages; compiling is done here, for three reasons. gobusybox takes an import path without a dot in
// its first element for the standard library, so it leaves out our own packages. It compiles with inlining off
// and everything anew each time, which costs the target speed and the builder a minute. And a program built
// outside of a module gets the runtime behaviour of an old Go release unless it says otherwise.
type busybox struct {
	ctx    context.Context // builder.Builder has no room for it as an argument
	source string          // root of our module
}

// DefaultBinaryDir implements builder.Builder.
func (b *busybox) DefaultBinaryDir() string { return binDir }

// Build implements builder.Builder.
func (b *busybox) Build(l *llog.Logger, af *initramfs.Files, opts builder.Opts) error {
	gen := filepath.Join(opts.TempDir, "gopath")
	err := bb.BuildBusybox(l.AtLevel(slog.LevelDebug), &bb.Opts{
		Env:          opts.Env,
		GenSrcDir:    gen,
		CommandPaths: opts.Packages,
		GenerateOnly: true,
	})
	if err != nil {
		return fmt.Errorf("cannot rewrite the commands: %w", err)
	}
	if err := b.copyOwn(gen, opts.Packages); err != nil {
		return err
	}
	main := filepath.Join(gen, "src/bb.u-root.com/bb")
	release, err := b.goOutput("list", "-m", "-f", "{{.GoVersion}}")
	if err != nil {
		return err
	}
	debug := "//go:debug default=go" + majorMinor(string(release)) + "\n\npackage main\n"
	if err := os.WriteFile(filepath.Join(main, "godebug.go"), []byte(debug), 0o644); err != nil {
		return fmt.Errorf("cannot write the busybox source: %w", err)
	}
	out := filepath.Join(opts.TempDir, "bb")
	cmd := exec.CommandContext(b.ctx, "go", "build", "-buildvcs=false", "-tags", buildTags, "-trimpath", "-ldflags=-s -w -buildid=", "-o", out, ".")
	cmd.Dir = main
	cmd.Env = append(os.Environ(), "GO111MODULE=off", "GOPATH="+gen, "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0",
		"GOOS=linux", "GOARCH=amd64", "GOAMD64=v1")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot compile the commands: %w\n%s", err, text)
	}
	if err := af.AddFile(out, binDir+"/bb"); err != nil {
		return fmt.Errorf("cannot add the commands: %w", err)
	}
	for _, p := range opts.Packages {
		if err := af.AddRecord(cpio.Symlink(binDir+"/"+path.Base(p), "bb")); err != nil {
			return fmt.Errorf("cannot add command %s: %w", path.Base(p), err)
		}
	}
	return nil
}

// goPackage is what go list tells about a package.
type goPackage struct {
	Dir, ImportPath, Name       string
	Module                      *struct{ Main bool }
	GoFiles, SFiles, EmbedFiles []string
}

// ownPackages lists the packages of our own module that commands are made of, the commands too.
func (b *busybox) ownPackages(commands []string) ([]goPackage, error) {
	out, err := b.goOutput(append([]string{"list", "-tags", buildTags, "-deps", "-json=Dir,ImportPath,Name,Module,GoFiles,SFiles,EmbedFiles"}, commands...)...)
	if err != nil {
		return nil, err
	}
	var packages []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("cannot read the list of packages: %w", err)
		}
		if p.Module != nil && p.Module.Main {
			packages = append(packages, p)
		}
	}
}

// copyOwn copies the packages of our own module that the commands import to where the compiler looks for them.
func (b *busybox) copyOwn(gen string, commands []string) error {
	packages, err := b.ownPackages(commands)
	if err != nil {
		return err
	}
	for _, p := range packages {
		if p.Name == "main" {
			continue // rewritten
		}
		for _, name := range p.files() {
			if err := copyFile(filepath.Join(p.Dir, name), filepath.Join(gen, "src", p.ImportPath, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// files lists all that the compiler reads, relative to p.Dir.
func (p goPackage) files() []string { return slices.Concat(p.GoFiles, p.SFiles, p.EmbedFiles) }

// goOutput runs the go command in our module for the machine the image is for.
func (b *busybox) goOutput(args ...string) ([]byte, error) {
	cmd := exec.CommandContext(b.ctx, "go", args...)
	cmd.Dir = b.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot run go %s: %w\n%s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// majorMinor cuts "1.26.0" to "1.26".
func majorMinor(release string) string {
	f := strings.SplitN(strings.TrimSpace(release), ".", 3)
	return strings.Join(f[:min(2, len(f))], ".")
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("cannot copy a source file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("cannot copy a source file: %w", err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		return fmt.Errorf("cannot copy a source file: %w", err)
	}
	return nil
}
