package iscsi_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// Aborts and resets of several initiators at full load leave nothing behind,
// and every command that is answered was not aborted. Run with -race.
func TestAbortStorm(t *testing.T) {
	b := start(t, iscsi.Options{WriteBudget: 16 << 20})
	errs := make(chan error, 4)
	var over sync.WaitGroup // a LUN RESET of one ends the commands of all
	over.Add(4)
	for i := range 4 {
		c := b.dial()
		c.ISID[5] = byte(10 + i)
		if _, err := c.Login(iscsitest.Names(fmt.Sprint(alice, i), open, "InitialR2T=No")...); err != nil {
			t.Fatal(err)
		}
		go func() {
			err := storm(c, i)
			over.Done()
			if over.Wait(); err == nil {
				err = calm(c)
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func storm(c *iscsitest.Conn, seed int) error {
	data := noise(uint64(seed), 256<<10)
	for i := range 30 {
		cmds := map[uint32]iscsitest.Command{}
		for j := range 4 {
			cmd := iscsitest.Write10(uint32(j)*512, data, 512)
			itt, err := c.Start(cmd)
			if err != nil {
				return err
			}
			cmds[itt] = cmd
		}
		function := []byte{iscsitest.AbortTask, iscsitest.AbortTaskSet, iscsitest.LUNReset}[i%3]
		if seed > 0 && function == iscsitest.LUNReset {
			function = iscsitest.AbortTaskSet
		}
		var anyITT uint32
		for anyITT = range cmds {
		}
		req := c.Manage(function, 0, anyITT)
		if err := c.Send(req); err != nil {
			return err
		}
		for done := false; !done; {
			p, err := c.Receive()
			if err != nil {
				return err
			}
			switch p.Op() {
			case 0x22:
				done = true
			case 0x31:
				off, n := int(p.U32(40)), int(p.U32(44))
				if err := c.SendData(p.ITT(), p.U32(20), 0, cmds[p.ITT()].Out[:off+n], off); err != nil {
					return err
				}
			}
		}
		// Whatever is left after an ABORT TASK is ended too, so that the next
		// round starts anew.
		if err := c.Send(c.Manage(iscsitest.AbortTaskSet, 0, 0xffffffff)); err != nil {
			return err
		}
		for {
			p, err := c.Receive()
			if err != nil {
				return err
			}
			if p.Op() == 0x22 {
				break
			}
		}
	}
	return nil
}

// calm sees that the unit is ready again.
func calm(c *iscsitest.Conn) error {
	c.SetDeadline(time.Now().Add(10 * time.Second))
	for range 4 {
		r, err := c.Do(iscsitest.TestUnitReady())
		if err != nil || r.Status == 0 {
			return err
		}
	}
	return errors.New("unit not ready after the storm")
}
