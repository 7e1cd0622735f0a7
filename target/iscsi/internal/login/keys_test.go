package login

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/iscsi/internal/pdu"
)

// What each key's result function gives for each kind of offer. An empty
// answer means that none is due.
func TestKeys(t *testing.T) {
	type want = map[string]string // offer -> answer
	tests := map[string]want{
		"HeaderDigest":             {"None": "None", "CRC32C": "CRC32C", "CRC32C,None": "CRC32C", "None,CRC32C": "None", "X,CRC32C": "CRC32C", "crc32c": "Reject", "": "Reject"},
		"DataDigest":               {"None": "None", "CRC32C": "CRC32C", "MD5": "Reject"},
		"MaxConnections":           {"1": "1", "8": "1", "0": "Reject", "65535": "1", "65536": "Reject"},
		"InitialR2T":               {"Yes": "Yes", "No": "No", "yes": "Reject", "1": "Reject"},
		"ImmediateData":            {"Yes": "Yes", "No": "No", "": "Reject"},
		"MaxRecvDataSegmentLength": {"512": "", "16777215": "", "511": "Reject", "16777216": "Reject", "0x200": "", "0x000200": "", "0512": "Reject", "-1": "Reject", "99999999999999999999": "Reject"},
		"MaxBurstLength":           {"512": "512", "16776192": "1048576", "1048576": "1048576", "511": "Reject", "16777216": "Reject"},
		"FirstBurstLength":         {"512": "512", "65536": "65536", "262144": "131072", "0": "Reject"},
		"DefaultTime2Wait":         {"0": "2", "00": "Reject", "2": "2", "60": "60", "3600": "3600", "3601": "Reject"},
		"DefaultTime2Retain":       {"0": "0", "20": "0", "3601": "Reject"},
		"MaxOutstandingR2T":        {"1": "1", "4": "4", "16": "4", "0": "Reject", "65536": "Reject"},
		"DataPDUInOrder":           {"Yes": "Yes", "No": "Yes"},
		"DataSequenceInOrder":      {"Yes": "Yes", "No": "Yes"},
		"ErrorRecoveryLevel":       {"0": "0", "2": "0", "3": "Reject"},
		"TaskReporting":            {"RFC3720": "RFC3720", "FastAbort,RFC3720": "RFC3720", "FastAbort": "Reject"},
		"iSCSIProtocolLevel":       {"0": "0", "1": "1", "2": "1", "32": "Reject"},
		"IFMarker":                 {"Yes": "No", "No": "No"},
		"OFMarker":                 {"Yes": "No", "No": "No"},
		"IFMarkInt":                {"1~65535": "Reject"},
		"OFMarkInt":                {"1~65535": "Reject"},
		"InitiatorAlias":           {"any": ""},
		"TargetAlias":              {"any": "Reject"},
		"TargetAddress":            {"10.0.0.1": "Reject"},
		"TargetPortalGroupTag":     {"1": "Reject"},
		"X#NodeArchitecture":       {"i386": ""},
		"SendTargets":              {"All": "Reject"},
	}
	covered := map[string]bool{"SessionType": true, "InitiatorName": true, "TargetName": true, "AuthMethod": true,
		"CHAP_A": true, "CHAP_I": true, "CHAP_C": true, "CHAP_N": true, "CHAP_R": true}
	for key, offers := range tests {
		covered[key] = true
		for give, answer := range offers {
			var want []string
			if answer != "" {
				want = []string{key + "=" + answer}
			}
			want = append(want, "TargetPortalGroupTag=1", "MaxRecvDataSegmentLength=262144")
			l := newLogin(directory{})
			r := req(1, 3)
			resp, text := l.Step(&r, join(names("iqn.t:alice", key+"="+give)...))
			if resp.Status != 0 {
				t.Errorf("%s=%s: status %v", key, give, Status(resp.Status))
				continue
			}
			if diff := cmp.Diff(want, split(t, text)); diff != "" {
				t.Errorf("%s=%s (-want +got):\n%s", key, give, diff)
			}
		}
	}
	for _, k := range keys {
		if !covered[k.name] {
			t.Errorf("no test for %s", k.name)
		}
	}
}

func TestParams(t *testing.T) {
	base := Params{
		InitiatorName: alice, TargetName: "iqn.t:alice", InitialR2T: true, ImmediateData: true,
		SendLimit: 8192, RecvLimit: 262144, MaxBurst: 262144, FirstBurst: 65536, MaxR2T: 1,
	}
	with := func(f func(*Params)) Params {
		p := base
		f(&p)
		return p
	}
	tests := map[string]struct {
		keys []string
		want Params
	}{
		"all absent": {nil, base},
		"all offered": {[]string{"HeaderDigest=CRC32C", "DataDigest=CRC32C", "InitialR2T=No", "ImmediateData=No", "MaxRecvDataSegmentLength=1024",
			"FirstBurstLength=262144", "MaxBurstLength=8192", "MaxOutstandingR2T=2", "InitiatorAlias=me"},
			with(func(p *Params) {
				p.HeaderDigest, p.DataDigest, p.InitialR2T, p.ImmediateData = true, true, false, false
				p.SendLimit, p.FirstBurst, p.MaxBurst, p.MaxR2T, p.InitiatorAlias = 1024, 8192, 8192, 2, "me"
			})},
		"refused values leave the defaults": {[]string{"MaxBurstLength=1", "MaxRecvDataSegmentLength=1", "InitialR2T=Maybe", "HeaderDigest=X"}, base},
	}
	for name, tt := range tests {
		l := newLogin(directory{})
		r := req(1, 3)
		if resp, _ := l.Step(&r, join(names("iqn.t:alice", tt.keys...)...)); resp.Status != 0 {
			t.Fatalf("%s: %v", name, Status(resp.Status))
		}
		if diff := cmp.Diff(tt.want, l.Params()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestNoDeclarationLeavesTheDefault(t *testing.T) {
	l := newLogin(directory{})
	r := req(0, 3) // never in the operational stage: nothing was declared
	l.Step(&r, join(names("iqn.t:alice")...))
	if got := l.Params().RecvLimit; got != 8192 {
		t.Errorf("RecvLimit = %d, want 8192", got)
	}
}

func TestRenegotiate(t *testing.T) {
	p := defaults()
	got := p.Renegotiate([]pdu.Pair{
		{Key: "MaxRecvDataSegmentLength", Value: "4096"},
		{Key: "MaxBurstLength", Value: "512"},
		{Key: "Odd", Value: "1"},
		{Key: "InitiatorName", Value: "iqn.x:other"},
		{Key: "InitiatorAlias", Value: strings.Repeat("a", 256)},
	})
	want := []string{"Odd=NotUnderstood", "InitiatorName=Reject", "InitiatorAlias=Reject", "MaxBurstLength=Reject"}
	if diff := cmp.Diff(want, split(t, got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p.SendLimit != 4096 || p.MaxBurst != 262144 || p.InitiatorName != "" {
		t.Errorf("params: %+v", p)
	}
	got = p.Renegotiate([]pdu.Pair{
		{Key: "MaxRecvDataSegmentLength", Value: "512"}, {Key: "X", Value: ""}, {Key: "X", Value: ""},
		{Key: "MaxRecvDataSegmentLength", Value: "1024"},
	})
	want = []string{"X=NotUnderstood", "X=NotUnderstood", "MaxRecvDataSegmentLength=Reject", "MaxRecvDataSegmentLength=Reject"}
	if diff := cmp.Diff(want, split(t, got)); diff != "" {
		t.Errorf("key twice (-want +got):\n%s", diff)
	}
	if p.SendLimit != 4096 {
		t.Errorf("SendLimit is %d after a key that came twice", p.SendLimit)
	}
}
