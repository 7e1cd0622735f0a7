package iscsi_test

import (
	"testing"

	"sanstick/target/iscsi"
	"sanstick/target/iscsitest"
)

// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS says which of them work.
func TestSupportedFunctionsAreTrue(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	r := b.do(c, iscsitest.Command{CDB: []byte{0xa3, 0x0d, 6: 0, 9: 4, 11: 0}, In: 4})
	if r.Status != 0 || len(r.Data) != 4 {
		t.Fatalf("%+v", r)
	}
	for _, f := range []struct {
		name     string
		function byte
		bit      byte
	}{
		{"ABORT TASK", iscsitest.AbortTask, 0x80},
		{"ABORT TASK SET", iscsitest.AbortTaskSet, 0x40},
		{"CLEAR ACA", 3, 0x20},
		{"CLEAR TASK SET", iscsitest.ClearTaskSet, 0x10},
		{"LUN RESET", iscsitest.LUNReset, 0x08},
		{"TARGET WARM RESET", iscsitest.WarmReset, 0x02},
	} {
		req := c.Manage(f.function, 0, 0xffffffff)
		b.send(c, req)
		p := b.want(c, 0x22)
		const noTask, notSupported = 1, 5
		works := p.BHS[2] != notSupported
		if said := r.Data[0]&f.bit != 0; said != works || p.BHS[2] > noTask && works {
			t.Errorf("%s: said to work: %t, response %d", f.name, said, p.BHS[2])
		}
	}
}

// The sense data of the transport is in the format that the unit uses, too.
func TestTransportSenseFormat(t *testing.T) {
	b := start(t, iscsi.Options{})
	c := b.session()
	list := []byte{0, 0, 0, 0, 0x0a, 0x0a, 0x04, 0x10, 0, 0, 0, 0, 0xff, 0xff, 0, 0} // D_SENSE
	if r := b.do(c, iscsitest.Command{CDB: []byte{0x15, 0x10, 0, 0, byte(len(list)), 0}, Out: list}); r.Status != 0 {
		t.Fatalf("MODE SELECT: %+v", r)
	}
	cmd := iscsitest.Write10(0, noise(1, 512), 512)
	cmd.Attr = 4 // ACA, which there never is
	r := b.do(c, cmd)
	if r.Status != 2 || len(r.Sense) < 8 || [4]byte(r.Sense) != [4]byte{0x72, 0x05, 0x49, 0x00} {
		t.Errorf("got %+v", r)
	}
	if r := b.do(c, iscsitest.Read10(0xffffffff, 1, 512)); len(r.Sense) < 8 || [4]byte(r.Sense) != [4]byte{0x72, 0x05, 0x21, 0x00} {
		t.Errorf("got %+v", r)
	}
}
