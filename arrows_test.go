// Package sanstick_test checks what no single package can: who may import whom.
package sanstick_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// arrows says for each part of the tree which other parts of it may be
// imported ("x" is x alone, "x/..." also all below it); a part's own subtree
// always may. The longest matching prefix counts. What isn't listed is forbidden. ARCHITECTURE.md shows the same as a
// table, with the reasons.
var arrows = map[string][]string{
	"target/block":  {},
	"target/scsi":   {"target/block/..."},
	"target/iscsi":  {"target/scsi", "target/block/..."},
	"target":        {"target/..."},
	"target/e2e":    {"imagebuild/apt", "imagebuild/image", "imagebuild/qemu", "imagebuild/rootfs"},
	"appliance/api": {"appliance/config", "appliance/status", "appliance/task"},

	"appliance/config":   {},
	"appliance/hardware": {},
	"appliance/image":    {},
	"appliance/status":   {},
	"appliance/sys":      {},
	"appliance/task":     {},
	"appliance/update":   {},

	"appliance/bootdisk": {"appliance/image/gpt"},

	"appliance/disk":    {"appliance/config", "appliance/image/...", "appliance/status", "appliance/sys/...", "appliance/task"},
	"appliance/network": {"appliance/config", "appliance/status", "appliance/sys/...", "appliance/task"},

	"appliance/console":    {"appliance/api", "appliance/config", "appliance/status"},
	"appliance/cmd/sanctl": {"appliance/api", "appliance/config", "appliance/image/...", "appliance/status"},

	"appliance/box":           {"appliance/...", "target", "target/scsi", "target/block/..."},
	"appliance/cmd/appliance": {"appliance/box", "appliance/task"},
	"appliance/e2e":           {"appliance/config", "appliance/status", "appliance/update", "imagebuild/qemu", "imagebuild/stick", "imagebuild/verify", "target/iscsitest", "target/iscsitest/load"},

	"init":       {"appliance/sys/...", "appliance/task"},
	"imagebuild": {"appliance/bootdisk", "appliance/config", "appliance/hardware", "appliance/image/gpt", "appliance/update"},

	"": {},
}

// forTests are parts that the tests of any part may import.
var forTests = []string{"sanstick/target/iscsitest"}

// listed is what this test needs of `go list -json`.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-tags=e2e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("cannot list packages: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("cannot list packages: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; seen++ {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("cannot read the package list: %v", err)
		}
		inTests := slices.Concat(p.TestImports, p.XTestImports)
		inTests = slices.DeleteFunc(inTests, func(imp string) bool { return slices.Contains(forTests, imp) })
		for _, imp := range slices.Concat(p.Imports, inTests) {
			if why := forbidden(p.ImportPath, imp); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, why)
			}
		}
	}
	if seen < 10 {
		t.Fatalf("only %d packages were listed: the test no longer sees the tree", seen)
	}
}

func TestForbidden(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		want     bool
	}{
		{"sanstick/target/scsi", "sanstick/target/block", false},
		{"sanstick/target/scsi", "sanstick/target/block/memdev", false},
		{"sanstick/target/block", "sanstick/target/scsi", true},
		{"sanstick/target/iscsi", "sanstick/appliance/config", true},
		{"sanstick/appliance/disk/pool", "sanstick/appliance/disk/lvm", false},
		{"sanstick/appliance/disk/pool", "sanstick/appliance/network", true},
		{"sanstick/appliance/box", "sanstick/target/iscsi", true},
		{"sanstick/imagebuild/esp", "sanstick/init/internal/earlyfs", true},
		{"sanstick/imagebuild/esp", "github.com/diskfs/go-diskfs", false},
	} {
		if got := forbidden(tc.from, tc.to) != ""; got != tc.want {
			t.Errorf("forbidden(%s, %s) = %v, want %v", tc.from, tc.to, got, tc.want)
		}
	}
}

// forbidden says why from may not import to, or "" if it may.
func forbidden(from, to string) string {
	const module = "sanstick"
	rel := func(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, module), "/") }
	if to != module && !strings.HasPrefix(to, module+"/") {
		return ""
	}
	from, to = rel(from), rel(to)
	room := from
	for {
		if _, ok := arrows[room]; ok {
			break
		}
		room = room[:max(strings.LastIndexByte(room, '/'), 0)]
	}
	if within(to, room) {
		return ""
	}
	for _, allowed := range arrows[room] {
		if dir, all := strings.CutSuffix(allowed, "/..."); to == dir || all && within(to, dir) {
			return ""
		}
	}
	return fmt.Sprintf("the arrows of %q allow only %v (see ARCHITECTURE.md)", room, arrows[room])
}

// within tells whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || dir != "" && strings.HasPrefix(path, dir+"/")
}
