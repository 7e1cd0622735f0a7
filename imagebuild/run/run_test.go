package run

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/config"
	"sanstick/imagebuild/qemu"
	"sanstick/imagebuild/stick"
)

func TestKeyFilter(t *testing.T) {
	tests := []struct {
		name, in, want string
		interrupts     int
	}{
		{"plain", "ls\r", "ls\r", 0},
		{"ctrl-c is ours", "a\x03b\x03", "ab", 2},
		{"ctrl-c for the machine", "x\x01cy\x01C", "x\x03y\x03", 0},
		{"ctrl-a for the machine", "\x01\x01z", "\x01z", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var whole, single filter
			got, n := whole.filter([]byte(tt.in))
			var got1 []byte
			n1 := 0
			for _, b := range []byte(tt.in) {
				g, i := single.filter([]byte{b})
				got1, n1 = append(got1, g...), n1+i
			}
			if string(got) != tt.want || n != tt.interrupts {
				t.Errorf("filter = %q, %d; want %q, %d", got, n, tt.want, tt.interrupts)
			}
			if string(got1) != tt.want || n1 != tt.interrupts {
				t.Errorf("key by key = %q, %d; want %q, %d", got1, n1, tt.want, tt.interrupts)
			}
		})
	}
}

// fakeTarget answers one discovery session.
func fakeTarget(t *testing.T, conn net.Conn, loginStatus byte, names ...string) {
	defer conn.Close()
	for _, answer := range []byte{opLoginResponse, opTextResponse} {
		h := make([]byte, headerSize)
		if _, err := io.ReadFull(conn, h); err != nil {
			return
		}
		n := int(h[5])<<16 | int(h[6])<<8 | int(h[7])
		data := make([]byte, (n+3)/4*4)
		if _, err := io.ReadFull(conn, data); err != nil {
			t.Errorf("request has less data than it says: %v", err)
			return
		}
		out := make([]byte, headerSize)
		out[0] = answer
		if answer == opLoginResponse {
			out[atStatus] = loginStatus
		} else {
			for _, name := range names {
				out = append(out, "TargetName="+name+"\x00TargetAddress=127.0.0.1:3260,1\x00"...)
			}
			binary.BigEndian.PutUint32(out[atLength:], uint32(len(out)-headerSize))
			for len(out)%4 != 0 {
				out = append(out, 0)
			}
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

func TestDiscover(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status byte
		want   []string
		fails  bool
	}{
		{"two targets", 0, []string{"iqn.2006-12.x:a", "iqn.2006-12.x:b"}, false},
		{"none yet", 0, nil, false},
		{"login refused", 2, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				if conn, err := l.Accept(); err == nil {
					fakeTarget(t, conn, tt.status, tt.want...)
				}
			}()
			got, err := discover(context.Background(), l.Addr().String())
			l.Close()
			<-done
			if (err != nil) != tt.fails {
				t.Fatalf("discover: error %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" && !tt.fails {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
		})
	}
}

type canned struct {
	io.Reader
	io.Writer
}

func FuzzExchange(f *testing.F) {
	login := make([]byte, headerSize)
	login[0] = opLoginResponse
	f.Add(login)
	text := make([]byte, headerSize+8)
	text[0], text[7] = opLoginResponse, 8
	f.Add(text)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, answer []byte) {
		got, err := exchange(canned{bytes.NewReader(answer), io.Discard}, loginRequest())
		if err == nil && len(got) > maxData {
			t.Errorf("%d bytes of text are taken", len(got))
		}
	})
}

func TestHints(t *testing.T) {
	got := hints("127.0.0.1:3261", "iqn.x:demo", true)
	for _, want := range []string{"iscsi-ls -s iscsi://127.0.0.1:3261", "iscsi://127.0.0.1:3261/iqn.x:demo/0", "Ctrl-C"} {
		if !strings.Contains(got, want) {
			t.Errorf("hints lack %q:\n%s", want, got)
		}
	}
}

// What a run leaves is there in the next one.
func TestPrepare(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "sanstick.img")
	core := make([]byte, 2*512)
	core[0x1fc] = 1
	if err := stick.Create(image, stick.Contents{BootCode: make([]byte, 512), Core: core}); err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: filepath.Join(dir, "run"), Image: image, Disks: 2, DiskSize: 64 << 20}
	file, disks, err := prepare(o)
	if err != nil {
		t.Fatal(err)
	}
	want := []qemu.Disk{
		{Path: filepath.Join(o.Dir, "disk1.img"), Serial: "SAN-DISK-1"},
		{Path: filepath.Join(o.Dir, "disk2.img"), Serial: "SAN-DISK-2"},
	}
	if diff := cmp.Diff(want, disks); diff != "" {
		t.Errorf("disks (-want +got):\n%s", diff)
	}
	if fi, err := os.Stat(disks[0].Path); err != nil || fi.Size() != o.DiskSize {
		t.Errorf("disk1.img: %v, %v", fi, err)
	}
	holds(t, file, config.Demo(), true)

	if err := os.WriteFile(disks[0].Path, []byte("data"), 0o644); err != nil {
		t.Fatal(err)
	}
	edited := []byte("hostname = \"edited\"\n")
	if err := stick.WithConfig(file, file, edited); err != nil {
		t.Fatal(err)
	}
	if _, _, err := prepare(o); err != nil {
		t.Fatal(err)
	}
	holds(t, file, edited, true)
	if data, err := os.ReadFile(disks[0].Path); err != nil || string(data) != "data" {
		t.Errorf("the disk was touched: %q, %v", data, err)
	}

	o.ConfigFile = filepath.Join(dir, "bad.toml")
	if err := os.WriteFile(o.ConfigFile, []byte("hostname = 7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := prepare(o); err == nil || !strings.Contains(err.Error(), "bad.toml") {
		t.Errorf("a bad configuration: error %v, want one that names the file", err)
	}
	holds(t, file, edited, true)
}

// holds checks whether an image contains a text (which FAT stores in one piece here).
func holds(t *testing.T, image string, text []byte, want bool) {
	t.Helper()
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Contains(data, text); got != want {
		t.Errorf("%s holds %.40q = %v, want %v", filepath.Base(image), text, got, want)
	}
}
