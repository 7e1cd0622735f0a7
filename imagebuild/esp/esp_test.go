package esp

import (
	"strings"
	"testing"
)

// grub.cfg finds the files under the names they get, and uses only commands that are in GRUB's core image.
func TestFilesMatchConfig(t *testing.T) {
	var cfg string
	names := make(map[string]bool)
	for _, f := range Files([]byte("k"), []byte("i"), []byte("m")) {
		names[f.Name] = true
		if f.Name == "EFI/debian/grub.cfg" {
			cfg = string(f.Data)
		}
	}
	for _, want := range []string{"a/vmlinuz", "a/initrd.img", "manifest.json"} {
		if !names[want] {
			t.Errorf("the boot volume lacks %s", want)
		}
	}
	modules := make(map[string]bool)
	for _, m := range strings.Fields(biosModules) {
		modules[m] = true
	}
	// Commands and the modules they are in.
	in := map[string]string{"serial": "serial", "terminal_input": "terminal", "terminal_output": "terminal", "search": "search",
		"echo": "echo", "sleep": "sleep", "reboot": "reboot", "linux16": "linux16", "initrd16": "linux16", "linux": "linux",
		"initrd": "linux", "boot": "linux", "[": "test"}
	keywords := map[string]bool{"set": true, "if": true, "else": true, "fi": true}
	for line := range strings.Lines(cfg) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") || keywords[f[0]] {
			continue
		}
		if m := in[f[0]]; m == "" || !modules[m] {
			t.Errorf("grub.cfg uses %q, which no module of the core image has", f[0])
		}
	}
}
