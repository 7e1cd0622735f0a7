package sys_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sanstick/appliance/sys"
	"sanstick/appliance/sys/systest"
)

const addSDB = "add@/devices/pci0000:00/0000:00:02.0/ata2/host1/target1:0:0/1:0:0:0/block/sdb\x00" +
	"ACTION=add\x00DEVPATH=/devices/pci0000:00/0000:00:02.0/ata2/host1/target1:0:0/1:0:0:0/block/sdb\x00" +
	"SUBSYSTEM=block\x00MAJOR=8\x00MINOR=16\x00DEVNAME=sdb\x00DEVTYPE=disk\x00DISKSEQ=3\x00SEQNUM=2301\x00"

func TestParseUevent(t *testing.T) {
	tests := []struct {
		name, in string
		want     sys.Uevent
		bad      bool
	}{
		{name: "disk", in: addSDB, want: sys.Uevent{
			Action:    "add",
			DevPath:   "/devices/pci0000:00/0000:00:02.0/ata2/host1/target1:0:0/1:0:0:0/block/sdb",
			Subsystem: "block",
			Env: map[string]string{
				"ACTION": "add", "SUBSYSTEM": "block", "MAJOR": "8", "MINOR": "16", "DEVNAME": "sdb",
				"DEVTYPE": "disk", "DISKSEQ": "3", "SEQNUM": "2301",
				"DEVPATH": "/devices/pci0000:00/0000:00:02.0/ata2/host1/target1:0:0/1:0:0:0/block/sdb",
			},
		}},
		{name: "no variables, empty value", in: "change@/x\x00A=\x00", want: sys.Uevent{
			Action: "change", DevPath: "/x", Env: map[string]string{"A": ""},
		}},
		{name: "path with an at sign", in: "bind@/a@b\x00", want: sys.Uevent{
			Action: "bind", DevPath: "/a@b", Env: map[string]string{},
		}},
		{name: "of udevd", in: "libudev\x00\xfe\xed\xca\xfe", bad: true},
		{name: "empty", bad: true},
		{name: "header not terminated", in: "add@/x", bad: true},
		{name: "no action", in: "@/x\x00", bad: true},
		{name: "path not absolute", in: "add@x\x00", bad: true},
		{name: "variable without name", in: "add@/x\x00=y\x00", bad: true},
		{name: "variable without value", in: "add@/x\x00y\x00", bad: true},
		{name: "too long", in: "add@/x\x00" + string(make([]byte, 16<<10)), bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := sys.ParseUevent([]byte(tt.in))
			if (err != nil) != tt.bad {
				t.Fatalf("error %v, want one: %v", err, tt.bad)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("uevent (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseUeventFile(t *testing.T) {
	got, err := sys.ParseUeventFile([]byte("DRIVER=ahci\nPCI_ID=8086:2922\nMODALIAS=pci:v00008086d00002922sv\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"DRIVER": "ahci", "PCI_ID": "8086:2922", "MODALIAS": "pci:v00008086d00002922sv"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if _, err := sys.ParseUeventFile([]byte("what is this\n")); err == nil {
		t.Error("a line without = was accepted")
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add([]byte(addSDB))
	f.Add([]byte("libudev\x00\xfe\xed"))
	f.Add([]byte("a@/\x00=\x00"))
	f.Add([]byte("@"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := sys.ParseUevent(b)
		if err == nil && (e.Action == "" || e.DevPath == "" || e.Env == nil) {
			t.Errorf("accepted %q as %+v", b, e)
		}
		_, _ = sys.ParseUeventFile(b)
	})
}

// The real socket: needs no privilege, and no event has to come.
func TestListenUevents(t *testing.T) {
	src, err := sys.ListenUevents()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // a cancelled Receive must not spoil the next
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if _, err := src.Receive(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Receive with a time limit: %v", err)
		}
		cancel()
	}
	done := make(chan error, 1)
	go func() {
		for {
			if _, err := src.Receive(t.Context()); err != nil {
				done <- err
				return
			}
		}
	}()
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Receive after Close: %v, want %v", err, os.ErrClosed)
	}
}

func TestAwait(t *testing.T) {
	src := systest.NewUevents()
	src.Send(sys.Uevent{Action: "add", Subsystem: "net"}) // not asked for
	src.Send(sys.Uevent{Action: "add", Subsystem: "block"})
	src.Fail(sys.ErrUeventsLost)
	asked := 0
	err := sys.Await(t.Context(), src,
		func(e sys.Uevent) bool { return e.Subsystem == "block" },
		func() (bool, error) { asked++; return asked == 3, nil })
	if err != nil || asked != 3 {
		t.Errorf("Await = %v after asking %d times, want nil after 3", err, asked)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = sys.Await(ctx, src, nil, func() (bool, error) { return false, nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Await when cancelled = %v", err)
	}
	broken := errors.New("broken")
	if err := sys.Await(t.Context(), src, nil, func() (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("Await = %v, want the error of done", err)
	}
}
