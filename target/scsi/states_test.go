package scsi

import (
	"encoding/binary"
	"sync"
	"testing"

	"sanstick/target/block/memdev"
)

// Everything about a unit changes at once while it is used. Each command ends
// in a way that one of the changes explains.
func TestStatesUnderLoad(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Removable: true, Thin: true})
	stop := make(chan struct{})
	var users, changers sync.WaitGroup
	explained := map[uint32]bool{
		uint32(dataProtect)<<16 | uint32(softwareWriteProtected): true,
		uint32(notReady)<<16 | uint32(mediumNotPresent):          true,
		uint32(notReady)<<16 | uint32(accessStandby):             true,
	}
	for range 3 {
		n := r.newNexus(t)
		users.Go(func() {
			defer n.Close()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				command := []string{"2a 00 00000000 00 0001 00", "28 00 00000000 00 0001 00", tur, "12 01 88 00 ff 00", "1a 00 3f ff ff 00"}[i%5]
				got := run(n, 0, command, make([]byte, 512))
				if got.Status == Good {
					continue
				}
				key, c := keyOf(got.Sense), code(0)
				if got.Sense[0] == 0x72 {
					c = code(binary.BigEndian.Uint16(got.Sense[2:]))
				} else {
					c = code(binary.BigEndian.Uint16(got.Sense[12:]))
				}
				if key != unitAttention && !explained[uint32(key)<<16|uint32(c)] {
					t.Errorf("%s: sense %x", command, got.Sense)
					return
				}
			}
		})
	}
	change := func(commands ...string) {
		n := r.newNexus(t)
		changers.Go(func() {
			defer n.Close()
			for i := range 200 {
				b := list(commands[i%len(commands)])
				var out []byte
				if b[0] == 0x15 {
					b, out = b[:6], b[6:]
				}
				n.NewTask([8]byte{}, b).Run(out, nil)
			}
		})
	}
	change("15 10 00 00 10 00"+header6+controlLock, "15 10 00 00 10 00"+header6+controlDesc, "15 10 00 00 10 00"+header6+controlPlain)
	change("15 10 00 00 18 00"+header6+cachingOff, "15 10 00 00 18 00"+header6+cachingOn)
	change(eject, load, prevent, eject, allow)
	change("a4 0f 0000 0000 00000000 00 00", "4c 02 40 00 00 00 00 0000 00")
	changers.Go(func() {
		for i := range 200 {
			groups := twoGroups(ActiveOptimized)
			if i%2 == 0 {
				groups[0].State = Standby
			}
			if err := r.dev.SetPortGroups(groups...); err != nil {
				t.Error(err)
			}
			if i%20 == 0 {
				r.dev.ResetUnit([8]byte{}, nil)
			}
		}
	})
	changers.Wait()
	close(stop)
	users.Wait()
}
