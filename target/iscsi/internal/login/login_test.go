package login

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/target/iscsi/internal/pdu"
)

const (
	alice = "iqn.2026-01.test:alice"
	bob   = "iqn.2026-01.test:bob"
)

// directory is a Directory of three targets: open to anyone, open to alice by
// CHAP, and alice's own.
type directory struct{ mutual bool }

func (d directory) all() map[string]Target {
	locked := Target{Name: "iqn.t:locked", PortalGroup: 1, CHAP: &Credentials{"0xalice", "secret-of-alice"}}
	if d.mutual {
		locked.Mutual = &Credentials{"the-target", "secret-of-target"}
	}
	return map[string]Target{
		"iqn.t:open":   {Name: "iqn.t:open", PortalGroup: 1, Alias: "Open"},
		"iqn.t:locked": locked,
		"iqn.t:alice":  {Name: "iqn.t:alice", PortalGroup: 1},
	}
}

func (d directory) Find(initiator, target string) (Target, Status) {
	t, ok := d.all()[target]
	switch {
	case !ok:
		return Target{}, NotFound
	case target != "iqn.t:open" && initiator != alice:
		return Target{}, NotAllowed
	}
	return t, Success
}

func (d directory) Allowed(initiator string) []Target {
	var ts []Target
	for name, t := range d.all() {
		if _, st := d.Find(initiator, name); st == Success {
			ts = append(ts, t)
		}
	}
	return ts
}

var offer = Offer{RecvLimit: 262144, MaxBurst: 1 << 20, FirstBurst: 131072, MaxR2T: 4}

func newLogin(d Directory) *Login {
	return New(Config{Directory: d, Challenges: new(Challenges), Rand: rand.Reader, Offer: offer})
}

func join(kv ...string) []byte {
	var b []byte
	for _, s := range kv {
		b = append(append(b, s...), 0)
	}
	return b
}

func split(t *testing.T, b []byte) []string {
	t.Helper()
	pairs, err := pdu.ParseText(b)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range pairs {
		out = append(out, p.Key+"="+p.Value)
	}
	return out
}

// step is one request and what must come back.
type step struct {
	req  pdu.LoginRequest
	keys []string
	want pdu.LoginResponse // ITT, ISID and TSIH are filled in
	text []string
}

func req(csg, nsg int) pdu.LoginRequest { // nsg 0 = no transit
	return pdu.LoginRequest{Transit: nsg != 0, CSG: byte(csg), NSG: byte(nsg), ITT: 7}
}

func resp(csg, nsg int) pdu.LoginResponse {
	return pdu.LoginResponse{Transit: nsg != 0, CSG: byte(csg), NSG: byte(nsg)}
}

func fails(csg int, st Status) pdu.LoginResponse {
	return pdu.LoginResponse{CSG: byte(csg), Status: uint16(st)}
}

func play(t *testing.T, l *Login, steps []step) {
	t.Helper()
	for i, s := range steps {
		got, text := l.Step(&s.req, join(s.keys...))
		s.want.ITT, s.want.ISID, s.want.TSIH = s.req.ITT, s.req.ISID, s.req.TSIH
		if diff := cmp.Diff(s.want, got); diff != "" {
			t.Fatalf("step %d (-want +got):\n%s", i, diff)
		}
		if diff := cmp.Diff(s.text, split(t, text)); diff != "" {
			t.Fatalf("step %d keys (-want +got):\n%s", i, diff)
		}
	}
}

func names(target string, more ...string) []string {
	return append([]string{"InitiatorName=" + alice, "SessionType=Normal", "TargetName=" + target}, more...)
}

func TestLogin(t *testing.T) {
	const (
		tpgt  = "TargetPortalGroupTag=1"
		alias = "TargetAlias=Open"
		mrdsl = "MaxRecvDataSegmentLength=262144"
	)
	continued := req(1, 0)
	continued.Continue = true
	both := req(1, 3)
	both.Continue = true
	v1 := req(1, 3)
	v1.VersionMin = 1
	other := req(1, 3)
	other.ITT = 9
	tests := []struct {
		name  string
		steps []step
	}{
		{"operational only", []step{{req(1, 3), names("iqn.t:open"), resp(1, 3), []string{tpgt, alias, mrdsl}}}},
		{"name in upper case", []step{{req(1, 3), names("IQN.T:OPEN"), resp(1, 3), []string{tpgt, alias, mrdsl}}}},
		{"both stages", []step{
			{req(0, 1), names("iqn.t:open", "AuthMethod=CHAP,None"), resp(0, 1), []string{tpgt, alias, "AuthMethod=None"}},
			{req(1, 3), []string{"InitiatorName=" + alice, "HeaderDigest=CRC32C,None", "MaxRecvDataSegmentLength=512"}, resp(1, 3),
				[]string{"HeaderDigest=CRC32C", mrdsl}},
		}},
		{"security to full feature", []step{{req(0, 3), names("iqn.t:open", "AuthMethod=None"), resp(0, 3), []string{tpgt, alias, "AuthMethod=None"}}}},
		{"security without AuthMethod", []step{{req(0, 1), names("iqn.t:open"), resp(0, 1), []string{tpgt, alias}}}},
		{"stage left when asked", []step{
			{req(0, 0), names("iqn.t:open", "AuthMethod=None"), resp(0, 0), []string{tpgt, alias, "AuthMethod=None"}},
			{req(0, 1), nil, resp(0, 1), nil},
			{req(1, 0), []string{"DefaultTime2Wait=3"}, resp(1, 0), []string{"DefaultTime2Wait=3", mrdsl}},
			{req(1, 3), []string{"DefaultTime2Retain=3"}, resp(1, 3), []string{"DefaultTime2Retain=0"}},
			{req(1, 3), nil, fails(1, InvalidDuringLogin), nil},
		}},
		{"continued", []step{
			{continued, []string{"InitiatorName=" + alice, "Initia"}, resp(1, 0), nil},
			{req(1, 3), names("iqn.t:open"), fails(1, InitiatorError), nil}, // the NUL made the half key an item
		}},
		{"operational keys in the security stage", []step{
			{req(0, 1), names("iqn.t:open", "HeaderDigest=None"), resp(0, 1), []string{"HeaderDigest=Reject", tpgt, alias}},
			{req(1, 3), []string{"HeaderDigest=None"}, resp(1, 3), []string{"HeaderDigest=None", mrdsl}},
		}},
		{"discovery", []step{{req(1, 3), []string{"InitiatorName=" + bob, "SessionType=Discovery", "MaxBurstLength=512", "ErrorRecoveryLevel=2"},
			resp(1, 3), []string{"MaxBurstLength=Irrelevant", "ErrorRecoveryLevel=0", mrdsl}}}},
		{"discovery, CHAP only, nothing to prove", []step{{req(0, 1), []string{"InitiatorName=" + bob, "SessionType=Discovery", "AuthMethod=CHAP"}, fails(0, AuthFailed), nil}}},
		{"unknown key", []step{{req(1, 3), names("iqn.t:open", "X-com.example=1"), resp(1, 3), []string{"X-com.example=NotUnderstood", tpgt, alias, mrdsl}}}},
		{"too many unknown keys", []step{{req(1, 3), names("iqn.t:open", strings.Split(strings.Repeat("a=b ", 17), " ")[:17]...), fails(1, InitiatorError), nil}}},
		{"key twice", []step{{req(1, 3), names("iqn.t:open", "InitialR2T=No", "InitialR2T=No"), fails(1, InitiatorError), nil}}},
		{"declaration twice", []step{{req(1, 3), names("iqn.t:open", "MaxRecvDataSegmentLength=512", "MaxRecvDataSegmentLength=1024"), fails(1, InitiatorError), nil}}},
		{"key in two requests", []step{
			{req(1, 0), names("iqn.t:open", "InitialR2T=No"), resp(1, 0), []string{"InitialR2T=No", tpgt, alias, mrdsl}},
			{req(1, 3), []string{"InitialR2T=No"}, fails(1, InitiatorError), nil},
		}},
		{"no such target", []step{{req(1, 3), names("iqn.t:none"), fails(1, NotFound), nil}}},
		{"not allowed", []step{{req(1, 3), []string{"InitiatorName=" + bob, "TargetName=iqn.t:alice"}, fails(1, NotAllowed), nil}}},
		{"no initiator name", []step{{req(1, 3), []string{"TargetName=iqn.t:open"}, fails(1, MissingParameter), nil}}},
		{"no target name", []step{{req(1, 3), []string{"InitiatorName=" + bob}, fails(1, MissingParameter), nil}}},
		{"nothing", []step{{req(1, 3), nil, fails(1, MissingParameter), nil}}},
		{"bad name", []step{{req(1, 3), []string{"InitiatorName=a b"}, fails(1, InitiatorError), nil}}},
		{"long name", []step{{req(1, 3), []string{"InitiatorName=" + strings.Repeat("a", 224)}, fails(1, InitiatorError), nil}}},
		{"name changes", []step{
			{req(1, 0), names("iqn.t:open"), resp(1, 0), []string{tpgt, alias, mrdsl}},
			{req(1, 3), []string{"InitiatorName=" + bob}, fails(1, InitiatorError), nil},
		}},
		{"session type", []step{{req(1, 3), []string{"InitiatorName=" + bob, "SessionType=Odd"}, fails(1, BadSessionType), nil}}},
		{"version", []step{{v1, names("iqn.t:open"), fails(1, BadVersion), nil}}},
		{"reserved stage", []step{{req(2, 3), names("iqn.t:open"), fails(2, InitiatorError), nil}}},
		{"stage back", []step{{req(1, 1), names("iqn.t:open"), fails(1, InitiatorError), nil}}},
		{"stage 2", []step{{req(1, 2), names("iqn.t:open"), fails(1, InitiatorError), nil}}},
		{"full feature at once", []step{{req(3, 3), names("iqn.t:open"), fails(3, InitiatorError), nil}}},
		{"C and T", []step{{both, names("iqn.t:open"), fails(1, InitiatorError), nil}}},
		{"stage skipped", []step{
			{req(0, 0), names("iqn.t:open"), resp(0, 0), []string{tpgt, alias}},
			{req(1, 3), nil, fails(1, InitiatorError), nil},
		}},
		{"task tag changes", []step{
			{req(1, 0), names("iqn.t:open"), resp(1, 0), []string{tpgt, alias, mrdsl}},
			{other, nil, fails(1, InitiatorError), nil},
		}},
		{"value that is an answer", []step{{req(1, 3), names("iqn.t:open", "MaxBurstLength=NotUnderstood"), fails(1, InitiatorError), nil}}},
		{"value too long", []step{{req(1, 3), names("iqn.t:open", "HeaderDigest="+strings.Repeat("a", 256)), fails(1, InitiatorError), nil}}},
		{"malformed", []step{{req(1, 3), []string{"nonsense"}, fails(1, InitiatorError), nil}}},

		{"CHAP: around the security stage", []step{{req(1, 3), names("iqn.t:locked"), fails(1, AuthFailed), nil}}},
		{"CHAP: no AuthMethod", []step{{req(0, 1), names("iqn.t:locked"), fails(0, AuthFailed), nil}}},
		{"CHAP: straight to full feature", []step{{req(0, 3), names("iqn.t:locked"), fails(0, AuthFailed), nil}}},
		{"CHAP: None only", []step{{req(0, 1), names("iqn.t:locked", "AuthMethod=None"), fails(0, AuthFailed), nil}}},
		{"CHAP: None, then on", []step{
			{req(0, 0), names("iqn.t:locked", "AuthMethod=None,CHAP"), resp(0, 0), []string{tpgt, "AuthMethod=CHAP"}},
			{req(0, 1), nil, fails(0, AuthFailed), nil},
		}},
		{"CHAP: left in the middle", []step{
			{req(0, 1), names("iqn.t:locked", "AuthMethod=CHAP"), resp(0, 0), []string{tpgt, "AuthMethod=CHAP"}},
			{req(1, 3), nil, fails(1, InitiatorError), nil},
		}},
		{"CHAP: unknown digest", []step{
			{req(0, 1), names("iqn.t:locked", "AuthMethod=CHAP"), resp(0, 0), []string{tpgt, "AuthMethod=CHAP"}},
			{req(0, 0), []string{"CHAP_A=4,9,x"}, fails(0, AuthFailed), nil},
		}},
		{"CHAP: answer before the challenge", []step{{req(0, 1), names("iqn.t:locked", "AuthMethod=CHAP", "CHAP_N=a", "CHAP_R=0x00"), fails(0, InitiatorError), nil}}},
		{"CHAP: where none is wanted", []step{{req(0, 1), names("iqn.t:open", "AuthMethod=CHAP"), fails(0, AuthFailed), nil}}},
		{"AuthMethod in the operational stage", []step{{req(1, 3), names("iqn.t:open", "AuthMethod=None"), resp(1, 3), []string{"AuthMethod=Reject", tpgt, alias, mrdsl}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLogin(directory{})
			defer l.Close()
			play(t, l, tt.steps)
		})
	}
}

func TestContinuation(t *testing.T) {
	l := newLogin(directory{})
	defer l.Close()
	whole := join(names("iqn.t:open", "MaxBurstLength=0x1000")...)
	for i := range 3 {
		r := req(1, 0)
		r.Continue = true
		part := whole[i*20 : (i+1)*20]
		if got, text := l.Step(&r, part); got.Status != 0 || got.Transit || text != nil {
			t.Fatalf("part %d: %+v, %q", i, got, text)
		}
	}
	r := req(1, 3)
	got, text := l.Step(&r, whole[60:])
	if !got.Transit || !strings.Contains(string(text), "MaxBurstLength=4096") {
		t.Errorf("got %+v, %q", got, text)
	}

	l = newLogin(directory{})
	defer l.Close()
	r = req(1, 0)
	r.Continue = true
	for i := 0; ; i++ {
		got, _ := l.Step(&r, make([]byte, MaxData))
		if got.Status != 0 {
			if i != maxText/MaxData {
				t.Errorf("cut off after %d parts", i)
			}
			break
		}
	}
}

func FuzzLogin(f *testing.F) {
	f.Add([]byte("\x87"+string(join(names("iqn.t:open")...))), []byte{}, []byte{})
	f.Add([]byte("\x81"+string(join(names("iqn.t:locked", "AuthMethod=CHAP")...))), []byte("\x80CHAP_A=7,5\x00"), []byte("\x81CHAP_N=a\x00CHAP_R=0x00\x00"))
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		l := newLogin(directory{mutual: true})
		defer l.Close()
		for _, part := range [][]byte{a, b, c} {
			if len(part) == 0 {
				continue
			}
			h := pdu.BHS{0: 0x43, 1: part[0]}
			var r pdu.LoginRequest
			r.Decode(&h)
			resp, text := l.Step(&r, part[1:])
			if len(text) > MaxData {
				t.Fatalf("answer of %d bytes", len(text))
			}
			if resp.Status != 0 && (resp.Transit || text != nil) {
				t.Fatalf("failure with transit or keys: %+v", resp)
			}
			// Nobody knows the secret here.
			if resp.Transit && resp.NSG == 3 && l.Params().TargetName == "iqn.t:locked" {
				t.Fatal("logged in to a locked target without its secret")
			}
		}
	})
}
