package esp

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// grub.cfg uses only commands that are in GRUB's core image. Debian's signed GRUB has all of these, too.
func TestConfigCommands(t *testing.T) {
	modules := make(map[string]bool)
	for _, m := range strings.Fields(biosModules) {
		modules[m] = true
	}
	// Commands and the modules they are in.
	in := map[string]string{"serial": "serial", "terminal_input": "terminal", "terminal_output": "terminal", "search": "search",
		"echo": "echo", "sleep": "sleep", "reboot": "reboot", "linux16": "linux16", "initrd16": "linux16", "linux": "linux",
		"initrd": "linux", "boot": "linux", "[": "test", "regexp": "regexp", "load_env": "loadenv", "save_env": "loadenv"}
	own := map[string]bool{"set": true, "fi": true, "return": true, "start": true, "giveup": true, "}": true}
	used := 0
	for line := range strings.Lines(string(Boot{}.config())) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") || strings.HasPrefix(line, "function ") {
			continue
		}
		for part := range strings.SplitSeq(line, ";") {
			f := strings.Fields(part)
			for len(f) > 0 && (f[0] == "if" || f[0] == "elif" || f[0] == "then" || f[0] == "else") {
				f = f[1:]
			}
			if len(f) == 0 || own[f[0]] {
				continue
			}
			used++
			if m := in[f[0]]; m == "" || !modules[m] {
				t.Errorf("grub.cfg uses %q, which no module of the core image has", f[0])
			}
		}
	}
	if used < 30 {
		t.Errorf("the test sees only %d commands", used)
	}
}

// GRUB's own tool reads the environment block.
func TestEnvironment(t *testing.T) {
	names := make(map[string]bool)
	file := filepath.Join(t.TempDir(), "grubenv")
	for _, f := range System([]byte("k"), []byte("i")) {
		names[f.Name] = true
		if f.Name == "grub/grubenv" {
			if len(f.Data) != environmentSize {
				t.Errorf("the environment block has %d bytes, want one sector", len(f.Data))
			}
			if err := os.WriteFile(file, f.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, want := range []string{"a/vmlinuz", "a/initrd.img", "grub/grubenv"} {
		if !names[want] {
			t.Errorf("the boot volume lacks %s", want)
		}
	}
	out, err := exec.Command("grub-editenv", file, "list").CombinedOutput()
	if err != nil || string(out) != "active=a\n" {
		t.Errorf("grub-editenv (package grub-common): %q, %v; want active=a", out, err)
	}
}
