package esp

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestBootConfig(t *testing.T) {
	for _, tt := range []struct {
		name     string
		boot     Boot
		terminal string
		args     string
	}{
		{"default", Boot{}, "serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial\n",
			"console=tty0 console=ttyS0,115200 quiet cryptomgr.notests"},
		{"screen", Boot{Consoles: []string{"tty0"}}, "terminal_input console\nterminal_output console\n", "console=tty0 quiet cryptomgr.notests"},
		{"serial", Boot{Consoles: []string{"ttyS1,9600"}}, "serial --unit=1 --speed=9600\nterminal_input serial\nterminal_output serial\n",
			"console=ttyS1,9600 quiet cryptomgr.notests"},
		{"three", Boot{Consoles: []string{"ttyS0", "ttyS2,57600", "tty0"}, Args: " mitigations=off  libata.force=1:noncq "},
			"serial --unit=2 --speed=57600\nterminal_input console serial\nterminal_output console serial\n",
			"console=ttyS0,115200 console=ttyS2,57600 console=tty0 quiet cryptomgr.notests mitigations=off libata.force=1:noncq"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.boot.Check(); err != nil {
				t.Fatal(err)
			}
			text := string(tt.boot.config())
			if !strings.Contains(text, "\n"+tt.terminal+"set timeout") || !strings.Contains(text, `set args="`+tt.args+` gpt panic=`) || strings.Contains(text, "@") {
				t.Errorf("grub.cfg is\n%s", text)
			}
			file := filepath.Join(t.TempDir(), "grub.cfg")
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("grub-script-check", file).CombinedOutput(); err != nil {
				t.Errorf("grub-script-check (package grub-common): %v\n%s", err, out)
			}
		})
	}
}

func TestBootCheck(t *testing.T) {
	for _, tt := range []struct {
		boot Boot
		want string // in the error; empty: none
	}{
		{Boot{Args: "nomodeset intel_iommu=on memmap=64K@0x100000 x.y=a,b:c/d%+~"}, ""},
		{Boot{Consoles: []string{"ttyS3,115200", "tty0"}}, ""},
		{Boot{Args: "memmap=4G$1G"}, `'$'`},
		{Boot{Args: `a"b`}, `'"'`},
		{Boot{Args: `a\b`}, `'\\'`},
		{Boot{Args: "a;reboot"}, `';'`},
		{Boot{Args: "a\nb"}, `'\n'`},
		{Boot{Args: "a=*"}, `'*'`},
		{Boot{Args: "a={b}"}, `'{'`},
		{Boot{Args: "a=ä"}, "'ä'"},
		{Boot{Args: "quiet console=ttyS1"}, "--console"},
		{Boot{Args: "panic=0"}, `"panic=0"`},
		{Boot{Args: "slot=b"}, `"slot=b"`},
		{Boot{Args: "x -- y"}, `"--"`},
		{Boot{Args: strings.Repeat("a", 1025)}, "1025 bytes"},
		{Boot{Consoles: []string{""}}, "want tty0"},
		{Boot{Consoles: []string{"tty1"}}, "want tty0"},
		{Boot{Consoles: []string{"tty0,9600"}}, "want tty0"},
		{Boot{Consoles: []string{"ttyS4"}}, "want tty0"},
		{Boot{Consoles: []string{"ttyS+1"}}, "want tty0"},
		{Boot{Consoles: []string{"ttyS0,9601"}}, "the speed is"},
		{Boot{Consoles: []string{"ttyS0,115200n8"}}, "the speed is"},
		{Boot{Consoles: []string{"ttyS0", "tty0", "ttyS0,9600"}}, "there already"},
	} {
		err := tt.boot.Check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want %q", tt.boot, err, tt.want)
		}
	}
}
