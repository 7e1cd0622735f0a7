package box

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fatImage is what can be read of a FAT volume after a power cut: by name where a file
// begins and how long it is, which clusters are in use, and what is in them.
type fatImage struct {
	names map[string]fatEntry
	in    map[int]bool
	holds map[int]string
}

type fatEntry struct{ cluster, size int }

func (i fatImage) clone() fatImage {
	return fatImage{maps.Clone(i.names), maps.Clone(i.in), maps.Clone(i.holds)}
}

// read returns what a file holds.
func (i fatImage) read(name string) (string, error) {
	e, ok := i.names[name]
	switch text := i.holds[e.cluster]; {
	case !ok:
		return "", fs.ErrNotExist
	case e.size == 0:
		return "", nil
	case !i.in[e.cluster]:
		return "", errors.New("its cluster is free")
	case len(text) < e.size:
		return "", errors.New("its cluster has something else")
	default:
		return text[:e.size], nil
	}
}

// fatFolder does what Linux does with a directory of a FAT volume: what changes is
// written out by and by, in any order, but for what fsync waits for.
type fatFolder struct {
	disk  fatImage   // for good
	dirty []fatWrite // on its way
	names map[string]*fatInode
	in    map[int]bool
	cut   func(fatImage, []fatWrite) // called when power may fail
	made  int
}

// fatWrite is a sector on its way to the disk.
type fatWrite struct {
	kind  string    // "names", "clusters", "data", "entry"
	inode *fatInode // of the last two
	do    func(fatImage)
}

type fatInode struct {
	folder  *fatFolder
	name    string // empty: it has none any more
	cluster int
	size    int
	opens   int
}

func newFATFolder(files map[string]string) *fatFolder {
	d := &fatFolder{
		disk:  fatImage{names: map[string]fatEntry{}, in: map[int]bool{}, holds: map[int]string{}},
		names: map[string]*fatInode{}, in: map[int]bool{}, cut: func(fatImage, []fatWrite) {},
	}
	for name, text := range files {
		if err := replace(d, name, []byte(text)); err != nil {
			panic(err)
		}
	}
	d.settle(func(fatWrite) bool { return true })
	return d
}

func (d *fatFolder) change(kind string, i *fatInode, do func(fatImage)) {
	d.dirty = append(d.dirty, fatWrite{kind, i, do})
	d.cut(d.disk, d.dirty)
}

// settle brings writes to the disk.
func (d *fatFolder) settle(which func(fatWrite) bool) {
	var left []fatWrite
	for _, w := range d.dirty {
		if which(w) {
			w.do(d.disk)
		} else {
			left = append(left, w)
		}
	}
	d.dirty = left
	d.cut(d.disk, d.dirty)
}

func (d *fatFolder) create() (newFile, error) {
	d.made++
	i := &fatInode{folder: d, name: fmt.Sprint(".new-", d.made), opens: 1}
	name := i.name
	d.names[name] = i
	d.change("names", nil, func(x fatImage) { x.names[name] = fatEntry{} })
	return i, nil
}

func (d *fatFolder) hold(name string) (io.Closer, error) {
	i := d.names[name]
	if i == nil {
		return nil, fs.ErrNotExist
	}
	i.opens++
	return i, nil
}

func (d *fatFolder) rename(from, to string) error {
	i, old := d.names[from], d.names[to]
	delete(d.names, from)
	d.names[to], i.name = i, to
	i.dirty()
	d.change("names", nil, func(x fatImage) { delete(x.names, from) })
	if old != nil {
		old.name = ""
		old.evict()
	}
	return nil
}

func (d *fatFolder) remove(name string) error {
	i := d.names[name]
	delete(d.names, name)
	i.name = ""
	d.change("names", nil, func(x fatImage) { delete(x.names, name) })
	i.evict()
	return nil
}

func (d *fatFolder) sync() error {
	d.settle(func(w fatWrite) bool { return w.kind == "names" || w.kind == "clusters" })
	return nil
}

func (i *fatInode) Name() string { return i.name }

func (i *fatInode) Write(p []byte) (int, error) {
	d := i.folder
	for i.cluster = 2; d.in[i.cluster]; i.cluster++ {
	}
	c, text := i.cluster, string(p)
	d.in[c], i.size = true, len(p)
	d.change("clusters", nil, func(x fatImage) { x.in[c] = true })
	d.change("data", i, func(x fatImage) { x.holds[c] = text })
	i.dirty()
	return len(p), nil
}

// dirty has the inode written to where its name is.
func (i *fatInode) dirty() {
	name, e := i.name, fatEntry{i.cluster, i.size}
	i.folder.change("entry", i, func(x fatImage) { x.names[name] = e })
}

func (i *fatInode) Sync() error {
	i.folder.settle(func(w fatWrite) bool { return w.inode == i || w.kind == "clusters" })
	return nil
}

func (i *fatInode) Close() error {
	i.opens--
	i.evict()
	return nil
}

// evict gives up the clusters of a file without a name that nobody has open.
func (i *fatInode) evict() {
	if i.name != "" || i.opens > 0 || i.cluster == 0 {
		return
	}
	c, d := i.cluster, i.folder
	delete(d.in, c)
	d.change("clusters", nil, func(x fatImage) { delete(x.in, c) })
}

// cuts calls see with each volume that a power cut may leave now: any of the writes
// that are on their way have arrived. Entries that only an fsync writes within the
// time that all this takes are among them if late is set.
func cuts(disk fatImage, dirty []fatWrite, late bool, see func(fatImage)) {
	for set := range 1 << len(dirty) {
		x := disk.clone()
		skip := false
		for n, w := range dirty {
			if set&(1<<n) != 0 {
				skip = skip || !late && w.kind == "entry"
				w.do(x)
			}
		}
		if !skip {
			see(x)
		}
	}
}

// TestReplaceOnFAT cuts the power at every moment while files are replaced, and while
// one is removed.
func TestReplaceOnFAT(t *testing.T) {
	d := newFATFolder(map[string]string{"appliance.toml": "old config", "last-good": "old", "newer": "n"})
	seen := map[string]int{}
	d.cut = func(disk fatImage, dirty []fatWrite) {
		cuts(disk, dirty, true, func(x fatImage) {
			a, aErr := x.read("appliance.toml")
			b, bErr := x.read("last-good")
			n, nErr := x.read("newer")
			if aErr != nil || bErr != nil || a != "old config" && a != "new config!" || b != "old" && b != "new" {
				t.Errorf("appliance.toml is %q, %v; last-good is %q, %v", a, aErr, b, bErr)
			}
			if (nErr != nil || n != "n") && !errors.Is(nErr, fs.ErrNotExist) {
				t.Errorf("what is removed is %q, %v", n, nErr)
			}
			seen[a+" "+b]++
		})
		cuts(disk, dirty, false, func(x fatImage) {
			used := map[int]string{}
			for name, e := range x.names {
				if other := used[e.cluster]; e.size > 0 && other != "" {
					t.Errorf("%s and %s have the same cluster", name, other)
				} else if e.size > 0 {
					used[e.cluster] = name
				}
			}
		})
	}
	if err := errors.Join(replace(d, "appliance.toml", []byte("new config!")), discard(d, "newer"), replace(d, "last-good", []byte("new"))); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 3 || seen["old config old"] == 0 || seen["new config! old"] == 0 || seen["new config! new"] == 0 {
		t.Errorf("one after the other, but seen were %v", seen)
	}
	for name, want := range map[string]string{"appliance.toml": "new config!", "last-good": "new"} {
		if got, err := d.disk.read(name); err != nil || got != want {
			t.Errorf("%s is %q for good, %v", name, got, err)
		}
	}
}

// TestRenameOnFAT shows why a rename alone won't do.
func TestRenameOnFAT(t *testing.T) {
	d := newFATFolder(map[string]string{"appliance.toml": "old"})
	lost := false
	d.cut = func(disk fatImage, dirty []fatWrite) {
		cuts(disk, dirty, true, func(x fatImage) {
			_, err := x.read("appliance.toml")
			lost = lost || err != nil
		})
	}
	f, _ := d.create()
	_, err := f.Write([]byte("new"))
	if err := errors.Join(err, f.Sync(), f.Close(), d.rename(f.Name(), "appliance.toml")); err != nil {
		t.Fatal(err)
	}
	if !lost {
		t.Error("nothing is ever lost")
	}
}

func TestReplaceFile(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "sanstick", "x.json")
	for _, text := range []string{"one", strings.Repeat("two", 1000), ""} {
		if err := replaceFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("it is %q, %v", got, err)
		}
	}
	for range 2 {
		if err := removeFile(path); err != nil {
			t.Error(err)
		}
	}
	// A directory is in the way: what was written goes again.
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(path, []byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}
