package pdu

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type codec interface {
	Encode(*BHS)
	Decode(*BHS)
}

var lun = [8]byte{0, 3, 0, 0, 0, 0, 0, 0}

// One of each, every field set, and where its bytes must be (RFC 7143
// section 11).
var allPDUs = []struct {
	name  string
	give  codec
	empty codec
	bytes map[int][]byte
}{
	{"SCSI Command", &SCSICommand{Immediate: true, Final: true, Write: true, Attr: AttrSimple, LUN: lun, ITT: 1, EDTL: 2, CmdSN: 3, ExpStatSN: 4, CDB: [16]byte{0x2a, 15: 9}}, &SCSICommand{},
		map[int][]byte{0: {0x41, 0xa1}, 9: {3}, 19: {1}, 23: {2}, 27: {3}, 31: {4}, 32: {0x2a}, 47: {9}}},
	{"Task Request", &TaskRequest{Function: TMFLUNReset, LUN: lun, ITT: 1, RefTag: 2, CmdSN: 3, ExpStatSN: 4, RefCmdSN: 5, ExpDataSN: 6}, &TaskRequest{},
		map[int][]byte{0: {0x02, 0x85}, 23: {2}, 35: {5}, 39: {6}}},
	{"Data-Out", &DataOut{Final: true, LUN: lun, ITT: 1, TTT: 2, ExpStatSN: 3, DataSN: 4, Offset: 0x01020304}, &DataOut{},
		map[int][]byte{0: {0x05, 0x80}, 39: {4}, 40: {1, 2, 3, 4}}},
	{"NOP-Out", &NOPOut{Immediate: true, LUN: lun, ITT: 1, TTT: Reserved, CmdSN: 3, ExpStatSN: 4}, &NOPOut{},
		map[int][]byte{0: {0x40, 0x80}, 20: {255, 255, 255, 255}}},
	{"Login Request", &LoginRequest{Transit: true, CSG: 1, NSG: 3, VersionMax: 1, VersionMin: 2, ISID: [6]byte{1, 2, 3, 4, 5, 6}, TSIH: 7, ITT: 8, CID: 9, CmdSN: 10, ExpStatSN: 11}, &LoginRequest{},
		map[int][]byte{0: {0x43, 0x87, 1, 2}, 8: {1, 2, 3, 4, 5, 6, 0, 7}, 20: {0, 9}}},
	{"Text Request", &TextRequest{Final: true, LUN: lun, ITT: 1, TTT: 2, CmdSN: 3, ExpStatSN: 4}, &TextRequest{},
		map[int][]byte{0: {0x04, 0x80}, 23: {2}}},
	{"Logout Request", &LogoutRequest{Reason: LogoutConnection, ITT: 1, CID: 2, CmdSN: 3, ExpStatSN: 4}, &LogoutRequest{},
		map[int][]byte{0: {0x06, 0x81}, 20: {0, 2}}},
	{"SCSI Response", &SCSIResponse{Residual: Residual{Underflow: true, Count: 5}, Response: 1, Status: 2, ITT: 3, SNACKTag: 4, ExpDataSN: 6, BidiReadResidual: 7}, &SCSIResponse{},
		map[int][]byte{0: {0x21, 0x82, 1, 2}, 39: {6}, 43: {7}, 47: {5}}},
	{"Data-In", &DataIn{Final: true, HasStatus: true, Residual: Residual{Overflow: true, Count: 5}, Status: 8, LUN: lun, ITT: 1, TTT: Reserved, DataSN: 2, Offset: 3}, &DataIn{},
		map[int][]byte{0: {0x25, 0x85, 0, 8}, 39: {2}, 43: {3}, 47: {5}}},
	{"R2T", &R2T{LUN: lun, ITT: 1, TTT: 2, R2TSN: 3, Offset: 4, Length: 5}, &R2T{},
		map[int][]byte{0: {0x31, 0x80}, 39: {3}, 43: {4}, 47: {5}}},
	{"Task Response", &TaskResponse{Response: TMFNotSupported, ITT: 2}, &TaskResponse{}, map[int][]byte{0: {0x22, 0x80, 5}}},
	{"Login Response", &LoginResponse{Transit: true, CSG: 1, NSG: 3, ISID: [6]byte{1}, TSIH: 2, ITT: 3, Status: 0x0202}, &LoginResponse{},
		map[int][]byte{0: {0x23, 0x87}, 14: {0, 2}, 36: {2, 2}}},
	{"Text Response", &TextResponse{Continue: true, LUN: lun, ITT: 1, TTT: 2}, &TextResponse{}, map[int][]byte{0: {0x24, 0x40}, 23: {2}}},
	{"Logout Response", &LogoutResponse{Response: 1, ITT: 2, Time2Wait: 3, Time2Retain: 4}, &LogoutResponse{}, map[int][]byte{0: {0x26, 0x80, 1}, 40: {0, 3, 0, 4}}},
	{"NOP-In", &NOPIn{LUN: lun, ITT: Reserved, TTT: 2}, &NOPIn{}, map[int][]byte{0: {0x20, 0x80}, 16: {255, 255, 255, 255}}},
	{"Reject", &Reject{Reason: RejectProtocol, DataSN: 2}, &Reject{}, map[int][]byte{0: {0x3f, 0x80, 4}, 16: {255, 255, 255, 255}, 39: {2}}},
	{"Async", &Async{LUN: lun, Event: 1, VCode: 2, Param1: 3, Param2: 4, Param3: 5}, &Async{}, map[int][]byte{0: {0x32, 0x80}, 36: {1, 2, 0, 3, 0, 4, 0, 5}}},
}

func TestRoundTrip(t *testing.T) {
	for _, tt := range allPDUs {
		t.Run(tt.name, func(t *testing.T) {
			var h BHS
			for i := range h {
				h[i] = 0xee // Encode must overwrite everything
			}
			tt.give.Encode(&h)
			for off, want := range tt.bytes {
				if diff := cmp.Diff(want, h[off:off+len(want)]); diff != "" {
					t.Errorf("bytes at %d (-want +got):\n%s", off, diff)
				}
			}
			if bytes.IndexByte(h[:], 0xee) >= 0 {
				t.Errorf("stale bytes left in header: % x", h)
			}
			tt.empty.Decode(&h)
			if diff := cmp.Diff(tt.give, tt.empty); diff != "" {
				t.Errorf("round trip (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWindow(t *testing.T) {
	var h BHS
	want := Window{1, 2, 3}
	h.SetWindow(want)
	if got := h.Window(); got != want {
		t.Errorf("Window = %v, want %v", got, want)
	}
}

func TestAHS(t *testing.T) {
	long := bytes.Repeat([]byte{7}, maxExtendedCDB)
	ok := []AHS{
		{},
		{ExtendedCDB: []byte{1}},
		{ExtendedCDB: []byte{1, 2, 3, 4}, HasBidi: true, BidiReadLength: 99},
		{ExtendedCDB: long},
	}
	for _, want := range ok {
		b := want.Append(nil)
		if len(b)%4 != 0 {
			t.Errorf("Append(%v) made %d bytes", want, len(b))
		}
		got, err := DecodeAHS(b)
		if err != nil {
			t.Errorf("DecodeAHS(% x): %v", b, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	bad := map[string][]byte{
		"length 0":           {0, 0, 1, 0},
		"only reserved byte": {0, 1, 1, 0},
		"beyond the end":     {0, 6, 1, 0, 1, 2, 3, 4},
		"huge":               {255, 255, 1, 0, 1, 2, 3, 4},
		"left over":          {0, 5, 2, 0, 0, 0, 0, 9, 1, 2},
		"unknown type":       {0, 5, 9, 0, 0, 0, 0, 9},
		"twice":              {0, 5, 2, 0, 0, 0, 0, 9, 0, 5, 2, 0, 0, 0, 0, 9},
		"short bidi":         {0, 4, 2, 0, 0, 0, 0, 9},
		"too long a CDB":     (&AHS{ExtendedCDB: append(long, 1)}).Append(nil),
	}
	for name, b := range bad {
		if a, err := DecodeAHS(b); err == nil {
			t.Errorf("%s: got %v, want an error", name, a)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, tt := range allPDUs {
		var h BHS
		tt.give.Encode(&h)
		f.Add(h[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderLen {
			return
		}
		h := BHS(b[:HeaderLen])
		for _, tt := range allPDUs {
			// What was decoded must survive an encode and a second decode.
			tt.empty.Decode(&h)
			var again BHS
			tt.empty.Encode(&again)
			var second BHS
			tt.empty.Decode(&again)
			tt.empty.Encode(&second)
			if again != second {
				t.Errorf("%s: % x and % x", tt.name, again, second)
			}
		}
	})
}

func FuzzAHS(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0})
	f.Add((&AHS{ExtendedCDB: []byte{1, 2, 3}, HasBidi: true}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := DecodeAHS(b)
		if err != nil {
			return
		}
		again, err := DecodeAHS(a.Append(nil))
		if err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
		if diff := cmp.Diff(a, again); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	})
}
