package scsi

import (
	"sync"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

func TestSetReadOnly(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	data := make([]byte, 512)
	const write = "2a 00 00000000 00 0001 00"
	pending := r.nexus.NewTask([8]byte{}, cdb(write))
	if err := r.unit.SetReadOnly(true); err != nil {
		t.Fatal(err)
	}
	wantSense(t, pending.Run(data, nil), dataProtect, writeProtected)
	wantAttentions(t, "read-only", r.nexus, 0, modeParametersChanged)
	wantSense(t, r.run(write, data), dataProtect, writeProtected)
	if wp := r.good(t, "1a 08 08 00 ff 00", nil)[2]; wp != 0x90 {
		t.Errorf("device-specific parameter %#02x", wp)
	}
	if err := r.unit.SetReadOnly(true); err != nil {
		t.Fatal(err)
	}
	wantAttentions(t, "read-only already", r.nexus, 0)
	r.dev.ResetUnit([8]byte{}, r.nexus)
	wantSense(t, r.run(write, data), dataProtect, writeProtected)
	if r.fault.Calls(faultdev.Write) != 0 {
		t.Error("something was written")
	}
	if err := r.unit.SetReadOnly(false); err != nil {
		t.Fatal(err)
	}
	wantAttentions(t, "writable", r.nexus, 0, modeParametersChanged)
	r.good(t, write, data)
	if err := r.unit.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.unit.SetReadOnly(true); err == nil {
		t.Error("a closed unit could be changed")
	}
}

// A unit that offers UNMAP on a device that can't isn't made writable.
func TestSetReadOnlyRefuses(t *testing.T) {
	mem, err := memdev.New(testSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	u := newTestUnit(t, noUnmap{mem}, "x", UnitOptions{Thin: true, ReadOnly: true})
	if err := u.SetReadOnly(false); err == nil {
		t.Error("no error")
	}
}

type noUnmap struct{ block.Device }

func (d noUnmap) Info() block.Info {
	i := d.Device.Info()
	i.CanUnmap = false
	return i
}

// slow is a device whose writes wait to be let go.
type slow struct {
	block.Device
	began, end chan struct{}
}

func (d slow) WriteAt(p []byte, off int64) (int, error) {
	d.began <- struct{}{}
	<-d.end
	return d.Device.WriteAt(p, off)
}

// SetReadOnly, and MODE SELECT with SWP, return when no write is running any
// more.
func TestReadOnlyWaitsForWrites(t *testing.T) {
	mem, err := memdev.New(testSize, memdev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, protect := range map[string]func(r *rig){
		"SetReadOnly": func(r *rig) {
			if err := r.unit.SetReadOnly(true); err != nil {
				t.Error(err)
			}
		},
		"MODE SELECT": func(r *rig) {
			if got := r.sel(t, list(header6+controlLock)); got.Status != Good {
				t.Error(got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := slow{mem, make(chan struct{}), make(chan struct{})}
			r := &rig{dev: NewDevice(testName), unit: newTestUnit(t, d, "x", UnitOptions{})}
			if err := r.dev.Attach(0, r.unit); err != nil {
				t.Fatal(err)
			}
			r.nexus = r.newNexus(t)
			var wg sync.WaitGroup
			wg.Go(func() { r.good(t, "2a 00 00000000 00 0001 00", make([]byte, 512)) })
			<-d.began
			done := make(chan struct{})
			wg.Go(func() { protect(r); close(done) })
			select {
			case <-done:
				t.Error("didn't wait")
			case <-afterMoment():
			}
			close(d.end)
			<-done
			wg.Wait()
		})
	}
}

// Protection comes and goes while many write. Nothing is written once it is
// there.
func TestReadOnlyUnderLoad(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		n := r.newNexus(t)
		wg.Go(func() {
			defer n.Close()
			for {
				select {
				case <-stop:
					return
				default:
					run(n, 0, "2a 00 00000000 00 0001 00", make([]byte, 512))
				}
			}
		})
	}
	for range 50 {
		if err := r.unit.SetReadOnly(true); err != nil {
			t.Error(err)
		}
		before := r.fault.Calls(faultdev.Write)
		run(r.nexus, 0, "00", nil)
		if n := r.fault.Calls(faultdev.Write); n != before {
			t.Errorf("%d writes after SetReadOnly", n-before)
		}
		if err := r.unit.SetReadOnly(false); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}
