package esp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// grubCommands are GRUB's commands for a shell. A file with another one beside
// it whose name ends in .bad can't be read.
const grubCommands = `
serial() { :; }; terminal_input() { :; }; terminal_output() { :; }; regexp() { :; }; search() { :; }; sleep() { :; }
readable() { [ -e "$1" -a ! -e "$1.bad" ]; }
linux() { readable "$1" || return 1; [ -z "$line" ] || { echo "a second kernel" >&2; exit 1; }; line="$*"; }
initrd() { readable "$1"; }
linux16() { linux "$@"; }; initrd16() { initrd "$@"; }
boot() { echo "BOOT $line"; exit 0; }
reboot() { echo REBOOT; exit 0; }
load_env() {
  local line name file="$2"; shift 2
  while read -r line; do for name; do if [ "${line%%=*}" = "$name" ]; then printf -v "$name" %s "${line#*=}"; fi; done; done <"$file"
}
save_env() {
  [ -z "$protected" ] || return 1
  local name file="$2"; shift 2; for name; do grub-editenv "$file" set "$name=${!name}" || exit 1; done
}
`

// A shell understands grub.cfg but for these.
var (
	grubSet    = regexp.MustCompile(`(?m)(^|[ ;])set ([a-z]+)=`)
	grubDevice = strings.NewReplacer("($boot)", "$boot")
)

// machine is a stick in a PC.
type machine struct {
	dir, script string
}

func newMachine(t *testing.T, platform, protected string, files, unreadable []string, env ...string) machine {
	t.Helper()
	m := machine{dir: t.TempDir()}
	put := func(name string, data []byte) {
		path := filepath.Join(m.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	block := "# GRUB Environment Block\n" + strings.Join(env, "\n") + "\n"
	put(Environment, append([]byte(block), bytes.Repeat([]byte("#"), environmentSize-len(block))...))
	for _, f := range files {
		put(f+"/vmlinuz", nil)
		put(f+"/initrd.img", nil)
	}
	for _, f := range unreadable {
		put(f+".bad", nil)
	}
	config := grubSet.ReplaceAllString(grubDevice.Replace(string(Boot{}.config())), "$1$2=")
	m.script = fmt.Sprintf("root=%s grub_platform=%s protected=%s\n%s\nfor ((start = 0; start < $1; start++)); do (\n%s\n); done", m.dir, platform, protected, grubCommands, config)
	return m
}

// starts is what n starts in a row come to: the slot and the mode, or "reboot".
func (m machine) starts(t *testing.T, n int) []string {
	t.Helper()
	cmd := exec.Command("bash", "-c", m.script, "grub", strconv.Itoa(n))
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil || said.Len() > 0 {
		t.Fatalf("%v\n%s%s", err, out, said.String())
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		switch command, ok := strings.CutPrefix(line, "BOOT "); {
		case ok:
			all = append(all, m.started(t, command))
		case line == "REBOOT":
			all = append(all, "reboot")
		}
	}
	return all
}

// started is the slot and the mode of a kernel that is started.
func (m machine) started(t *testing.T, command string) string {
	t.Helper()
	said := map[string]string{}
	words := strings.Fields(command)
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		said[key] = value
	}
	slot, mode := said["slot"], said["mode"]
	if words[0] != filepath.Join(m.dir, slot, "vmlinuz") || (said["panic"] == "5") != (mode == "try") {
		t.Errorf("the kernel is started with %q", command)
	}
	return slot + " " + mode
}

// TestStarts has a shell carry out grub.cfg, with GRUB's own tool for writing the
// environment block: what three starts in a row come to.
func TestStarts(t *testing.T) {
	a, b, both := []string{"a"}, []string{"b"}, []string{"a", "b"}
	for _, tt := range []struct {
		name       string
		slots      []string
		unreadable []string
		protected  string
		env        []string
		want       []string
		left       string // in the environment block; "": what was there
	}{
		{"a new stick", a, nil, "", []string{"active=a"}, []string{"a normal", "a normal", "a normal"}, ""},
		{"slot b", both, nil, "", []string{"active=b"}, []string{"b normal", "b normal", "b normal"}, ""},
		{"no settings", both, nil, "", nil, []string{"a normal", "a normal", "a normal"}, ""},
		{"a trial", both, nil, "", []string{"active=a", "next=b", "left=1"}, []string{"b try", "a fallback", "a fallback"}, "active=a next=b left=0"},
		{"two trials", both, nil, "", []string{"active=b", "next=a", "left=2"}, []string{"a try", "a try", "b fallback"}, "active=b next=a left=0"},
		{"a trial that can't be counted", both, nil, "1", []string{"active=a", "next=b", "left=1"}, []string{"a fallback", "a fallback", "a fallback"}, ""},
		{"nothing in the slot on trial", a, nil, "", []string{"active=a", "next=b", "left=1"}, []string{"a fallback", "a fallback", "a fallback"}, "active=a next=b left=0"},
		{"the kernel on trial can't be read", both, []string{"b/vmlinuz"}, "", []string{"active=a", "next=b", "left=1"}, []string{"a fallback", "a fallback", "a fallback"}, "active=a next=b left=0"},
		{"the initramfs on trial can't be read", both, []string{"b/initrd.img"}, "", []string{"active=a", "next=b", "left=1"}, []string{"reboot", "a fallback", "a fallback"}, "active=a next=b left=0"},

		{"the active kernel can't be read", both, []string{"a/vmlinuz"}, "", []string{"active=a"}, []string{"b fallback", "b fallback", "b fallback"}, ""},
		{"the active initramfs can't be read", both, []string{"a/initrd.img"}, "", []string{"active=a"}, []string{"reboot", "b fallback", "b fallback"}, "active=a bad=a"},
		{"the active initramfs can't be read, slot b", both, []string{"b/initrd.img"}, "", []string{"active=b"}, []string{"reboot", "a fallback", "a fallback"}, "active=b bad=b"},
		{"the same, and that can't be noted", both, []string{"a/initrd.img"}, "1", []string{"active=a"}, []string{"reboot", "reboot", "reboot"}, ""},
		{"the same after a trial", both, []string{"a/initrd.img"}, "", []string{"active=a", "next=b", "left=0"}, []string{"reboot", "b fallback", "b fallback"}, "active=a next=b left=0 bad=a"},
		{"the only initramfs can't be read", a, []string{"a/initrd.img"}, "", []string{"active=a"}, []string{"reboot", "reboot", "reboot"}, "active=a bad=a"},
		{"no initramfs can be read", both, []string{"a/initrd.img", "b/initrd.img"}, "", []string{"active=a"}, []string{"reboot", "reboot", "reboot"}, "active=a bad=a"},
		{"the only one could be read after all", a, nil, "", []string{"active=a", "bad=a"}, []string{"a normal", "a normal", "a normal"}, ""},
		{"the other kernel can't be read", both, []string{"b/vmlinuz"}, "", []string{"active=a", "bad=a"}, []string{"a fallback", "a fallback", "a fallback"}, ""},
		{"the slot that isn't active was bad", both, nil, "", []string{"active=a", "bad=b"}, []string{"a normal", "a normal", "a normal"}, ""},
		{"a bad slot that was written again is tried", both, nil, "", []string{"active=b", "next=a", "left=1", "bad=a"}, []string{"a try", "b fallback", "b fallback"}, "active=b next=a left=0 bad=a"},
		{"only slot b", b, nil, "", []string{"active=a"}, []string{"b fallback", "b fallback", "b fallback"}, ""},
		{"nothing", nil, nil, "", []string{"active=a"}, []string{"reboot", "reboot", "reboot"}, ""},
	} {
		for _, platform := range []string{"pc", "efi"} {
			m := newMachine(t, platform, tt.protected, tt.slots, tt.unreadable, tt.env...)
			if diff := cmp.Diff(tt.want, m.starts(t, len(tt.want))); diff != "" {
				t.Errorf("%s, %s (-want +got)\n%s", tt.name, platform, diff)
			}
			if tt.left == "" {
				tt.left = strings.Join(tt.env, " ")
			}
			out, err := exec.Command("grub-editenv", filepath.Join(m.dir, Environment), "list").CombinedOutput()
			if left := strings.Join(strings.Fields(string(out)), " "); err != nil || left != tt.left {
				t.Errorf("%s, %s: %q (%v) is left, want %q", tt.name, platform, left, err, tt.left)
			}
		}
	}
}
