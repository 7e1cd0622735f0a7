package initramfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// tree makes files below a new directory: name to content; a name that ends with a slash is a directory, a content that
// begins with -> a symbolic link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if link, ok := strings.CutPrefix(content, "->"); ok {
			err = os.Symlink(link, p)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func listing(files []File) []string {
	var out []string
	for _, f := range files {
		switch {
		case f.Dir:
			out = append(out, fmt.Sprintf("%s/ %o", f.Name, f.Mode))
		case f.Link != "":
			out = append(out, fmt.Sprintf("%s -> %s", f.Name, f.Link))
		default:
			out = append(out, fmt.Sprintf("%s %o %s", f.Name, f.Mode, f.Data))
		}
	}
	return out
}

func TestAdded(t *testing.T) {
	root := tree(t, map[string]string{"etc/issue": "hello", "etc/empty/": "", "usr/bin/tool": "#!", "usr/bin/t": "->tool", "other/x": "y"})
	for name, mode := range map[string]os.FileMode{"usr/bin/tool": 0o750 | os.ModeSetuid, "etc/empty": 0o700} {
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		specs []string
		want  []string
	}{
		{nil, nil},
		{[]string{root + "/etc:/etc"}, []string{"etc/ 755", "etc/empty/ 700", "etc/issue 644 hello"}},
		{[]string{root + "/usr"}, []string{"bin/ 755", "bin/t -> tool", "bin/tool 4750 #!"}},
		{[]string{root + "/usr/bin/tool:/opt/renamed"}, []string{"opt/renamed 4750 #!"}},
		{[]string{root + "/usr/bin/t:/opt/"}, []string{"opt/t -> tool"}},
		{[]string{root + "/etc/issue"}, []string{"issue 644 hello"}},
		{[]string{root + "/etc/issue:/../../b"}, []string{"b 644 hello"}},
		{[]string{root + "/other:/etc", root + "/etc:/etc"}, []string{"etc/ 755", "etc/empty/ 700", "etc/issue 644 hello", "etc/x 644 y"}},
	} {
		got, err := Added(tt.specs)
		if err != nil {
			t.Errorf("%q: %v", tt.specs, err)
		}
		if diff := cmp.Diff(tt.want, listing(got)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.specs, diff)
		}
	}
}

func TestAddedRefused(t *testing.T) {
	root := tree(t, map[string]string{"a": "1", "b/a": "2", "bad\nname": "3"})
	if err := unix.Mkfifo(filepath.Join(root, "b/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for spec, want := range map[string]string{
		root + "/none":                      "no such file",
		root + "/a:etc/a":                   "PATH:/DEST",
		"":                                  "no such file",
		root + "/b:/etc":                    "neither a file",
		root + "/a:/run/a":                  "mounted over /run",
		root + "/a:/tmp/x/":                 "mounted over /tmp",
		root + "/bad\nname":                 "manifest",
		root + "/a:/x\n" + root + "/b/a:/x": "added twice",
	} {
		specs := []string{spec}
		if first, second, ok := strings.Cut(spec, "\n/"); ok {
			specs = []string{first, "/" + second}
		}
		if _, err := Added(specs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", specs, err, want)
		}
	}
}

func TestFits(t *testing.T) {
	image := append(programFiles([]string{"github.com/x/cmds/core/ls", "/src/init/cmd/reboot"}),
		File{Name: "sbin/lvm"}, File{Name: "usr/sbin/thin_check", Link: "pdata_tools"}, File{Name: "etc/lvm/lvm.conf"})
	for _, tt := range []struct {
		name  string
		added []File
		want  []string
		fails string
	}{
		{"beside", []File{{Name: "etc", Dir: true}, {Name: "etc/issue"}, {Name: "usr/sbin/x"}, {Name: "opt", Dir: true, Mode: 0o700}, {Name: "opt/y"}},
			[]string{"etc/issue 0 ", "usr/sbin/x 0 ", "opt/ 700", "opt/y 0 "}, ""},
		{"our program", []File{{Name: "sbin/lvm"}}, nil, "cannot add /sbin/lvm: the image has one"},
		{"a command", []File{{Name: "bbin/ls"}}, nil, "/bbin/ls"},
		{"a command of ours", []File{{Name: "bbin/reboot", Link: "x"}}, nil, "/bbin/reboot"},
		{"init", []File{{Name: "init"}}, nil, "/init"},
		{"the shell", []File{{Name: "bin/sh"}}, nil, "/bin/sh"},
		{"a link of the image", []File{{Name: "usr/sbin/thin_check"}}, nil, "/usr/sbin/thin_check"},
		{"a file for a directory", []File{{Name: "etc/lvm"}}, nil, "/etc/lvm"},
		{"a link for a directory", []File{{Name: "bin", Link: "usr/bin"}}, nil, "/bin"},
		{"a directory for a file", []File{{Name: "init", Dir: true}}, nil, "/init"},
		{"below a file", []File{{Name: "sbin/lvm/x"}}, nil, "/sbin/lvm is no directory"},
		{"below a link that is added", []File{{Name: "opt", Link: "etc"}, {Name: "opt/passwd"}}, nil, "/opt is no directory"},
	} {
		got, err := fits(image, tt.added)
		if tt.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, listing(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
