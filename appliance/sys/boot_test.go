package sys_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/sys"
)

func TestBootLog(t *testing.T) {
	l := sys.BootLog{Path: filepath.Join(t.TempDir(), "sanstick", "boot")}
	if got, err := l.Read(); err != nil || len(got) != 0 {
		t.Errorf("without a file: %v, %v", got, err)
	}
	want := []sys.BootPhase{
		{Name: "kernel", End: 2500 * time.Millisecond},
		{Name: "pool made or activated", Begin: 3 * time.Second, End: 3*time.Second + 250*time.Microsecond},
	}
	for _, p := range want {
		if err := l.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	got, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
	for _, name := range []string{"", "a\tb", "a\nb"} {
		if err := l.Add(sys.BootPhase{Name: name}); err == nil {
			t.Errorf("%q was taken as a name", name)
		}
	}
}

func TestBootLogDamaged(t *testing.T) {
	l := sys.BootLog{Path: filepath.Join(t.TempDir(), "boot")}
	for _, text := range []string{"\n", "1\t2\n", "a\t2\tkernel\n", "1\tb\tkernel\n", "1\t2\t\n"} {
		if err := os.WriteFile(l.Path, []byte("0\t1\tkernel\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := l.Read(); err == nil || len(got) != 1 {
			t.Errorf("%q gave %v, %v; want what is before it, and an error", text, got, err)
		}
	}
}

func TestSinceBoot(t *testing.T) {
	a := sys.SinceBoot()
	if b := sys.SinceBoot(); a <= 0 || b < a {
		t.Errorf("%v, then %v since boot", a, b)
	}
}
