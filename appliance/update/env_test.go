package update

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// block is what GRUB makes of lines.
func block(size int, lines ...string) []byte {
	b := []byte(envHeader)
	for _, l := range lines {
		b = append(b, l+"\n"...)
	}
	return append(b, bytes.Repeat([]byte("#"), size-len(b))...)
}

func TestDecodeEnv(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		want Env
	}{
		{"empty", block(512), Env{}},
		{"active", block(1024, "active=b"), Env{Active: SlotB}},
		{"armed", block(512, "active=a", "next=b", "left=3"), Env{Active: SlotA, Next: SlotB, Left: 3}},
		{"a number that GRUB doesn't count", block(512, "next=b", "left=4"), Env{Next: SlotB}},
		{"no number", block(512, "next=b", "left=02"), Env{Next: SlotB}},
		{"no slot", block(512, "active=c", "next=../a"), Env{}},
		{"others", block(512, "saved_entry=x", "active=a", `odd=a\\b\`+"\nc"), Env{Active: SlotA, Others: []Variable{{"saved_entry", "x"}, {"odd", "a\\b\nc"}}}},
		{"bad", block(512, "active=b", "bad=b"), Env{Active: SlotB, Bad: SlotB}},
		{"comment", block(512, "# a comment", "active=b"), Env{Active: SlotB}},
	} {
		got, err := DecodeEnv(tt.in)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", tt.name, err, diff)
		}
	}
	for name, in := range map[string][]byte{
		"nothing": nil, "odd size": block(512)[:511], "too large": block(8192), "no header": bytes.Repeat([]byte("#"), 512),
		"no equals sign": block(512, "active"), "no end": append(block(512)[:511], 'x'),
	} {
		if _, err := DecodeEnv(in); name == "no end" {
			continue // the fill hides it
		} else if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestEncodeEnv(t *testing.T) {
	e := Env{Active: SlotA, Next: SlotB, Left: 1, Bad: SlotA, Others: []Variable{{"odd", "a\\b\nc"}}}
	b, err := e.Encode(512)
	if err != nil || len(b) != 512 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	got, err := DecodeEnv(b)
	if diff := cmp.Diff(e, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if got := e.Plain(SlotB); got.Armed() || got.Active != SlotB || got.Bad != "" || len(got.Others) != 1 {
		t.Errorf("plain: %+v", got)
	}
	for _, size := range []int{0, -512, 100, 513, 8192} {
		if _, err := e.Encode(size); err == nil {
			t.Errorf("%d bytes: no error", size)
		}
	}
	if _, err := (Env{Others: []Variable{{"long", strings.Repeat("x", 600)}}}).Encode(512); err == nil {
		t.Error("what doesn't fit is no error")
	}
}

// GRUB's own tool reads what we write, and we read what it writes.
func TestGrubEditenv(t *testing.T) {
	tool, err := exec.LookPath("grub-editenv")
	if err != nil {
		t.Fatal("grub-editenv is not installed (package grub-common)")
	}
	run := func(args ...string) string {
		out, err := exec.Command(tool, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("grub-editenv %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	file := filepath.Join(t.TempDir(), "grubenv")
	run(file, "create")
	run(file, "set", "active=a", "next=b", "left=2", `odd=back\slash`)
	e, err := ReadEnv(file)
	if diff := cmp.Diff(Env{Active: SlotA, Next: SlotB, Left: 2, Others: []Variable{{"odd", `back\slash`}}}, e); err != nil || diff != "" {
		t.Fatalf("%v (-want +got)\n%s", err, diff)
	}
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteEnv(file, e.Plain(SlotB)); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) || after.Size() != before.Size() {
		t.Errorf("the file is another one, or of another size (%v)", err)
	}
	if diff := cmp.Diff("active=b\nodd=back\\slash\n", run(file, "list")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := WriteEnv(filepath.Join(t.TempDir(), "none"), e); err == nil {
		t.Error("a block that isn't there was made")
	}
}

func FuzzDecodeEnv(f *testing.F) {
	f.Add(block(512, "active=a", "next=b", "left=1", `x=\\`))
	f.Add(block(1024, "# c", `odd=a\`+"\nb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEnv(b)
		if err != nil {
			return
		}
		for _, v := range e.Others {
			if v.Name == "" || v.Name[0] == '#' || strings.ContainsAny(v.Name, "\\\n") {
				return // no name that GRUB could have written
			}
		}
		out, err := e.Encode(len(b))
		if err != nil {
			return // doubled settings may take more room apart
		}
		again, err := DecodeEnv(out)
		if e.Next == "" {
			e.Left = 0
		}
		if diff := cmp.Diff(e, again); err != nil || diff != "" {
			t.Errorf("%v (-want +got)\n%s", err, diff)
		}
	})
}
