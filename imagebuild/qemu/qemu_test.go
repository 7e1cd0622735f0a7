package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestArgs(t *testing.T) {
	args, err := Options{
		Stick: "/tmp/a,b.img",
		Disks: []Disk{{Path: "d1", Serial: "SAN-DISK-1"}, {Path: "d2", Serial: "S2", Bus: SATA}},
		Ports: []Forward{{3261, 3260}}, SMBIOS: []string{"sanstick.portal=127.0.0.1:3261"}, NoReboot: true,
	}.args("/run/qmp")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(args, " ")
	for _, want := range []string{
		"-accel tcg,thread=multi", "-m 512", "-smp 2", "-no-reboot",
		`-blockdev {"discard":"unmap","driver":"raw","file":{"discard":"unmap","driver":"file","filename":"/tmp/a,b.img"},"node-name":"stick"}` +
			" -device usb-storage,bus=usb.0,drive=stick,serial=SANSTICK,bootindex=0,id=dev-stick",
		`-blockdev {"discard":"unmap","driver":"raw","file":{"discard":"unmap","driver":"file","filename":"d1"},"node-name":"disk0"}` +
			" -device virtio-blk-pci,drive=disk0,serial=SAN-DISK-1,id=dev-disk0",
		"-device ide-hd,bus=ide.2,drive=disk1,serial=S2,id=dev-disk1",
		"-netdev user,id=net,hostfwd=tcp:127.0.0.1:3261-:3260",
		"-smbios type=11,value=sanstick.portal=127.0.0.1:3261",
		"-qmp unix:/run/qmp,server=on,wait=off",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("arguments lack %q:\n%s", want, got)
		}
	}
}

func TestArgsErrors(t *testing.T) {
	for name, o := range map[string]Options{
		"accel":       {Accel: "xen"},
		"long serial": {Disks: []Disk{{Serial: strings.Repeat("x", 21)}}},
		"bad serial":  {Disks: []Disk{{Serial: "a,b"}}},
		"bus":         {Disks: []Disk{{Bus: "floppy"}}},
		"stick bus":   {Stick: "s", StickBus: "tape"},
	} {
		if _, err := o.args("q"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTranscript(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var shown strings.Builder
	tr := newTranscript(&shown)
	go func() {
		for _, s := range []string{"one tw", "o three ", "two"} {
			_, _ = tr.Write([]byte(s))
		}
		tr.close()
	}()
	two := regexp.MustCompile(`t(w)o`)
	for range 2 { // the second match is another one
		got, err := tr.wait(ctx, two)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"two", "w"}, got); diff != "" {
			t.Errorf("match (-want +got):\n%s", diff)
		}
	}
	if _, err := tr.wait(ctx, two); !errors.Is(err, errStopped) {
		t.Errorf("after the end: %v, want %v", err, errStopped)
	}
	if got := tr.String(); got != "one two three two" || shown.String() != got {
		t.Errorf("transcript %q, shown %q", got, shown.String())
	}
}

func TestTranscriptIsBounded(t *testing.T) {
	tr := newTranscript(nil)
	chunk := []byte(strings.Repeat("x", 1000))
	for range 2 * maxTranscript / len(chunk) {
		_, _ = tr.Write(chunk)
	}
	_, _ = tr.Write([]byte("end"))
	if n := len(tr.String()); n > maxTranscript {
		t.Errorf("%d bytes are kept, want at most %d", n, maxTranscript)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := tr.wait(ctx, regexp.MustCompile("end")); err != nil {
		t.Error(err)
	}
	cancel()
	if _, err := tr.wait(ctx, regexp.MustCompile("never")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled wait: %v", err)
	}
}

func TestFreePort(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	if taken > 65000 {
		t.Fatalf("the system gave port %d: no room above it", taken)
	}
	got, err := FreePort(taken)
	if err != nil {
		t.Fatal(err)
	}
	if got <= taken || got > taken+100 {
		t.Errorf("FreePort(%d) = %d, want a port shortly above", taken, got)
	}
	if _, err := FreePort(0); err == nil {
		t.Error("port 0 is no error")
	}
}

// fakeQMP answers like QEMU: a greeting, an event before each reply.
func fakeQMP(conn net.Conn, replies map[string]string) {
	defer conn.Close()
	fmt.Fprintln(conn, `{"QMP": {"version": {}, "capabilities": []}}`)
	for s := bufio.NewScanner(conn); s.Scan(); {
		var request struct {
			Execute   string
			Arguments json.RawMessage
		}
		if json.Unmarshal(s.Bytes(), &request) != nil {
			return
		}
		fmt.Fprintln(conn, `{"event": "RESUME", "data": {}}`)
		fmt.Fprintln(conn, replies[request.Execute+string(request.Arguments)])
	}
}

func TestTalk(t *testing.T) {
	replies := map[string]string{
		"qmp_capabilities":         `{"return": {}}`,
		"query-status":             `{"return": {"status": "running"}}`,
		`device_del{"id":"disk1"}`: `{"error": {"class": "DeviceNotFound", "desc": "Device 'disk1' not found"}}`,
	}
	for _, tt := range []struct {
		command   string
		arguments map[string]any
		want      string
		fails     string
	}{
		{"query-status", nil, `{"status": "running"}`, ""},
		{"device_del", map[string]any{"id": "disk1"}, "", "not found"},
	} {
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); fakeQMP(server, replies) }()
		got, err := talk(client, tt.command, tt.arguments)
		client.Close()
		<-done
		if tt.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%s: error %v, want one with %q", tt.command, err, tt.fails)
			}
			continue
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("%s = %s, %v; want %s", tt.command, got, err, tt.want)
		}
	}
}

func TestChoose(t *testing.T) {
	silent := func(string) {}
	for _, want := range []Accel{KVM, TCG} {
		if c, err := Choose(context.Background(), string(want), Probe{}, silent); err != nil || c.Accel != want {
			t.Errorf("asked for %s: %v, %v", want, c, err)
		}
	}
	if c, err := Choose(context.Background(), "auto", Probe{}, silent); err != nil || c.Accel != TCG || c.Reason == "" {
		t.Errorf("no kernel to try: %v, %v; want tcg and a reason", c, err)
	}
	if _, err := Choose(context.Background(), "fast", Probe{}, silent); err == nil {
		t.Error("an unknown accelerator is no error")
	}
}

func TestRememberedChoice(t *testing.T) {
	p := Probe{Kernel: "/boot/vmlinuz-1", CacheFile: filepath.Join(t.TempDir(), "accel.json")}
	if _, ok := p.remembered(p.key()); ok {
		t.Error("remembered before anything was")
	}
	want := Choice{KVM, "a kernel boots"}
	if err := p.remember(p.key(), want); err != nil {
		t.Fatal(err)
	}
	if got, ok := p.remembered(p.key()); !ok || got != want {
		t.Errorf("remembered %v, %v; want %v", got, ok, want)
	}
	p.Kernel = "/boot/vmlinuz-2"
	if _, ok := p.remembered(p.key()); ok {
		t.Error("the answer for one kernel is used for another")
	}
}

func TestLastLines(t *testing.T) {
	var in []string
	for i := range 5 {
		in = append(in, strconv.Itoa(i))
	}
	if got := lastLines(strings.Join(in, "\n")+"\r\n", 2); got != "3\n4" {
		t.Errorf("lastLines = %q", got)
	}
}
