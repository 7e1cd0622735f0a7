package initramfs

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"
)

// The shell's commands come from the tools of go.mod, ours from the module.
func TestCommands(t *testing.T) {
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	all, err := commands(&busybox{ctx: t.Context(), source: source})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		filepath.Join(source, "init"), filepath.Join(source, "appliance/cmd/appliance"),
		"github.com/u-root/u-root/cmds/core/gosh", "github.com/u-root/u-root/cmds/core/dmesg",
	} {
		if !slices.Contains(all, want) {
			t.Errorf("%s is not in the image", want)
		}
	}
	if i := slices.IndexFunc(all, func(c string) bool { return strings.Contains(c, "staticcheck") }); i >= 0 {
		t.Errorf("%s is in the image", all[i])
	}
}

// Every program of ours that the list names exists.
func TestOwnPrograms(t *testing.T) {
	for _, d := range own {
		if m, err := filepath.Glob(filepath.Join("../..", d, "*.go")); err != nil || len(m) == 0 {
			t.Errorf("there is no program in %s (%v)", d, err)
		}
	}
}

func TestMajorMinor(t *testing.T) {
	for in, want := range map[string]string{"1.26.0\n": "1.26", "1.26": "1.26", "1.27rc1": "1.27rc1"} {
		if got := majorMinor(in); got != want {
			t.Errorf("majorMinor(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFileRecord(t *testing.T) {
	host := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(host, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		file File
		mode uint64
		want string
	}{
		{File{Name: "sbin/lvm", Path: host, Mode: 0o755}, cpio.S_IFREG | 0o755, "content"},
		{File{Name: "etc/x", Data: []byte("text"), Mode: 0o644}, cpio.S_IFREG | 0o644, "text"},
		{File{Name: "sbin/thin_check", Link: "pdata_tools"}, cpio.S_IFLNK | 0o777, "pdata_tools"},
	} {
		r, err := tt.file.record()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(r.ReaderAt, 0, int64(r.FileSize)))
		if err != nil || string(got) != tt.want || r.Mode != tt.mode || r.Name != tt.file.Name {
			t.Errorf("record of %s: %q mode %o, %v", tt.file.Name, got, r.Mode, err)
		}
	}
	if _, err := (File{Name: "x", Path: host + "missing"}).record(); err == nil {
		t.Error("a missing host file is no error")
	}
}

// The archive is a zstd frame of a cpio archive, is the same each time, and appears only when it is complete.
func TestCompressed(t *testing.T) {
	dir := t.TempDir()
	var sizes [][]byte
	for _, name := range []string{"one", "two"} {
		c := &compressed{ctx: context.Background(), path: filepath.Join(dir, name)}
		w, err := c.OpenWriter()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range skeleton() {
			if err := w.WriteRecord(r); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(c.path); err == nil {
			t.Error("the file is there before it is complete")
		}
		if err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		c.cleanup()
		data, err := os.ReadFile(c.path)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, data)
	}
	if !bytes.Equal(sizes[0], sizes[1]) {
		t.Error("equal contents give different archives")
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	plain, err := dec.DecodeAll(sizes[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(plain)))
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, r := range records {
		got = append(got, r.Name)
	}
	for _, r := range skeleton() {
		want = append(want, r.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

// An interrupted build leaves nothing.
func TestCompressedInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	c := &compressed{ctx: ctx, path: filepath.Join(dir, "out")}
	w, err := c.OpenWriter()
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := w.WriteRecord(skeleton()[0]); err == nil {
		t.Error("writing goes on after the end of the context")
	}
	c.cleanup()
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// An output is used again only if its inputs and the file itself are as they were.
func TestUpToDate(t *testing.T) {
	out := filepath.Join(t.TempDir(), "initrd.img")
	if upToDate(out, "k") {
		t.Error("up to date before it exists")
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(out, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("archive")
	if upToDate(out, "k") {
		t.Error("up to date without a key")
	}
	if err := rememberKey(out, "k"); err != nil {
		t.Fatal(err)
	}
	if !upToDate(out, "k") || upToDate(out, "other") {
		t.Error("up to date must mean: the same key")
	}
	write("damaged")
	if upToDate(out, "k") {
		t.Error("a damaged output is up to date")
	}
}

// Changed sources, changed files of the image and nothing else give another key.
func TestInputKey(t *testing.T) {
	source := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module sanstick\n\ngo 1.26.0\n")
	write("go.sum", "")
	write("lib/lib.go", "package lib\n\nimport _ \"embed\"\n\n//go:embed text\nvar Text string\n")
	write("lib/text", "one")
	write("elsewhere/x.go", "package elsewhere\n")
	for _, d := range own {
		write(d+"/main.go", "package main\n\nimport \"sanstick/lib\"\n\nfunc main() { println(lib.Text) }\n")
	}
	key := func(files ...File) string {
		t.Helper()
		k, err := inputKey(&busybox{ctx: context.Background(), source: source}, Options{Source: source, Files: files})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key()
	if key() != first {
		t.Error("the key of unchanged inputs changes")
	}
	write("elsewhere/x.go", "package elsewhere // changed\n")
	if key() != first {
		t.Error("a package that is not in the image changes the key")
	}
	write("lib/text", "two")
	second := key()
	if second == first {
		t.Error("an embedded file does not change the key")
	}
	if key(File{Name: "etc/x", Data: []byte("y")}) == second {
		t.Error("a file of the image does not change the key")
	}
}
