package unh_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"sanstick/target/iscsitest"
)

var long = flag.Bool("long", false, "run everything, not a part: 20,000 logins, all lengths, 100,000 commands")

// pairwise makes the logins to try: the offer of each key, by its position in
// the model. Together they have every pair of offers of two keys.
//
// Offers that the target must refuse a login for hide all others. So there are
// three parts: logins without any of them, those with one, and those with two.
func pairwise() [][]int {
	var fatal, harmless [][]int // by key: positions in its offers
	for i := range model {
		var f, h []int
		for j, o := range model[i].offers() {
			alone := make([]offer, len(model))
			for n := range model {
				if model[n].kind == initiatorID || model[n].kind == targetID {
					alone[n] = offer{values: []string{map[kind]string{initiatorID: alice, targetID: *name}[model[n].kind]}}
				}
			}
			alone[i] = o
			if e := predict(alone); len(e.must) > 0 {
				f = append(f, j)
			} else {
				h = append(h, j)
			}
		}
		fatal, harmless = append(fatal, f), append(harmless, h)
	}
	r := rand.New(rand.NewPCG(7143, 13))
	var logins [][]int
	random := func() []int {
		login := make([]int, len(model))
		for i := range login {
			login[i] = harmless[i][r.IntN(len(harmless[i]))]
		}
		return login
	}
	for range 11000 {
		logins = append(logins, random())
	}
	for i := range fatal {
		for _, f := range fatal[i] {
			for round := range 16 { // no key has more harmless offers
				login := make([]int, len(model))
				for n := range login {
					login[n] = harmless[n][(round+n)%len(harmless[n])]
				}
				login[i] = f
				logins = append(logins, login)
			}
			for j := range i {
				for _, g := range fatal[j] {
					login := random()
					login[i], login[j] = f, g
					logins = append(logins, login)
				}
			}
		}
	}
	r.Shuffle(len(logins), func(i, j int) { logins[i], logins[j] = logins[j], logins[i] })
	return logins
}

func TestPairsAreComplete(t *testing.T) {
	type pair struct{ i, a, j, b int }
	seen := make(map[pair]bool)
	logins := pairwise()
	for _, login := range logins {
		for i := range login {
			for j := range i {
				seen[pair{i, login[i], j, login[j]}] = true
			}
		}
	}
	want := 0
	for i := range model {
		for j := range i {
			want += len(model[i].offers()) * len(model[j].offers())
		}
	}
	if len(seen) != want {
		t.Errorf("%d pairs of offers, want all %d", len(seen), want)
	}
	if len(logins) < 20000 {
		t.Errorf("%d logins, want 20,000", len(logins))
	}
	t.Logf("%d keys, %d pairs of offers, %d logins", len(model), want, len(logins))
}

// TestKeyNegotiation logs in with every pair of offers, and compares what the
// target says and does with the model.
func TestKeyNegotiation(t *testing.T) {
	needsOwn(t)
	logins := pairwise()
	if !*long {
		logins = logins[:2000]
	}
	addr := serve(t)
	var offers [][]offer
	for i := range model {
		offers = append(offers, model[i].offers())
	}
	const workers = 4
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := w; n < len(logins) && !t.Failed(); n += workers {
				said := make([]offer, len(model))
				for i, j := range logins[n] {
					said[i] = offers[i][j]
				}
				l := keyLogin{offers: said, addr: addr, isid: byte(w), number: n}
				if err := l.try(); err != nil {
					t.Errorf("login %d: %v\nwith %q", n, err, l.keys())
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d logins", len(logins))
}

// keyLogin is one login to try.
type keyLogin struct {
	offers []offer
	addr   string
	isid   byte
	number int
}

// keys are what the initiator says, in an order that changes.
func (l *keyLogin) keys() []string {
	var keys []string
	for i, o := range l.offers {
		for _, v := range o.values {
			keys = append(keys, model[i].name+"="+v)
		}
	}
	r := rand.New(rand.NewPCG(uint64(l.number), 0))
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys
}

func (l *keyLogin) try() error {
	c, err := iscsitest.Dial(context.Background(), l.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Conn.(*net.TCPConn).SetLinger(0); err != nil { // leaves no port in TIME_WAIT
		return err
	}
	c.ISID[5] = l.isid
	want := predict(l.offers)
	answer, status, err := l.login(c)
	switch {
	case err != nil:
		return err
	case !want.allows(status):
		return fmt.Errorf("status %#04x, want one of %04x", status, want.must)
	case status != 0:
		return nil
	}
	if err := want.compare(answer); err != nil {
		return err
	}
	c.HeaderDigest, c.DataDigest = want.p.headerDigest, want.p.dataDigest
	return l.use(c, want.p)
}

// login says the keys, in as many PDUs as they need.
func (l *keyLogin) login(c *iscsitest.Conn) (answer string, status uint16, err error) {
	text := iscsitest.Text(l.keys()...)
	for {
		p := c.LoginRequest(operational, fullFeature)
		p.Data = text[:min(len(text), 8192)]
		if text = text[len(p.Data):]; len(text) > 0 {
			p.BHS[1] = operational<<2 | 0x40
		}
		got, err := c.Exchange(p)
		if err != nil {
			return "", 0, err
		}
		status := got.U16(36)
		if got.Op() != 0x23 || status == 0 && len(text) == 0 && got.BHS[1] != 0x87 {
			return "", 0, fmt.Errorf("unexpected %v", &got)
		}
		if status != 0 || len(text) == 0 {
			return string(got.Data), status, nil
		}
	}
}

// compare checks what the target has answered.
func (e *expected) compare(answer string) error {
	got := map[string][]string{}
	for kv := range strings.SplitSeq(strings.TrimSuffix(answer, "\x00"), "\x00") {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return fmt.Errorf("answer %q", kv)
		}
		got[k] = append(got[k], v)
	}
	// The target's own declarations.
	limits := got["MaxRecvDataSegmentLength"]
	if i := slices.Index(limits, targetRecvLimit); i < 0 {
		return fmt.Errorf("MaxRecvDataSegmentLength=%v", limits)
	} else if limits = slices.Delete(limits, i, i+1); len(limits) == 0 {
		delete(got, "MaxRecvDataSegmentLength")
	} else {
		got["MaxRecvDataSegmentLength"] = limits
	}
	if !e.p.discovery && !slices.Equal(got["TargetAlias"], []string{"alias"}) && e.answers["TargetAlias"] == nil {
		return fmt.Errorf("TargetAlias=%v", got["TargetAlias"])
	}
	if e.answers["TargetAlias"] == nil {
		delete(got, "TargetAlias")
	}
	for k, want := range e.answers {
		n := max(1, e.repeated[k])
		if !e.p.discovery && (k == "TargetAlias" || k == "TargetPortalGroupTag" && len(want) > 1) {
			n++ // beside what it says itself
		}
		if len(got[k]) != n {
			return fmt.Errorf("%s is answered with %q, want %d of %q", k, got[k], n, want)
		}
		for _, v := range got[k] {
			if !slices.Contains(want, v) && !(k == "TargetAlias" && v == "alias") {
				return fmt.Errorf("%s=%s, want one of %q", k, v, want)
			}
		}
		delete(got, k)
	}
	for k, v := range got {
		return fmt.Errorf("%s=%v was not to be answered", k, v)
	}
	return nil
}

// use checks that what was agreed on is in force: the digests, and for some
// logins what a read and a write look like.
func (l *keyLogin) use(c *iscsitest.Conn, p parameters) error {
	if p.discovery {
		got, err := c.Exchange(c.TextRequest(noTag, "SendTargets="+*name))
		if err != nil || got.Op() != 0x24 || iscsitest.Keys(got.Data)["TargetName"] != *name {
			return fmt.Errorf("SendTargets: %v, %w", &got, err)
		}
		return nil
	}
	got, err := c.Exchange(c.NOPOut(true, []byte("digest")))
	if err != nil || got.Op() != 0x20 || string(got.Data) != "digest" {
		return fmt.Errorf("ping: %v, %w", &got, err)
	}
	if l.number%5 != 0 {
		return nil
	}
	for range 3 {
		if r, err := c.Do(iscsitest.TestUnitReady()); err != nil {
			return err
		} else if r.Status == 0 {
			break
		}
	}
	data := noise(l.isid, 64*blockSize)
	lba := uint32(l.isid) * 64
	write := iscsitest.Write10(lba, data, blockSize)
	c.InitialR2T, c.ImmediateData, c.FirstBurst, c.TargetRecvLimit = p.initialR2T, p.immediate, p.firstBurst, 262144
	itt, err := c.Start(write)
	if err != nil {
		return err
	}
	next := 0 // where solicited data must begin
	if !p.initialR2T {
		next = min(len(data), p.firstBurst)
	} else if p.immediate {
		next = min(len(data), p.firstBurst)
	}
	var owed []iscsitest.PDU
	for next < len(data) || len(owed) > 0 {
		if next < len(data) && len(owed) < p.maxR2T { // it asks for as much as it may
			r2t, err := c.Receive()
			if err != nil {
				return err
			}
			if r2t.Op() != 0x31 || int(r2t.U32(40)) != next || int(r2t.U32(44)) != min(p.maxBurst, len(data)-next) {
				return fmt.Errorf("want an R2T at %d, MaxBurstLength is %d: %v", next, p.maxBurst, &r2t)
			}
			next += int(r2t.U32(44))
			owed = append(owed, r2t)
			continue
		}
		r2t := owed[0]
		owed = owed[1:]
		off := int(r2t.U32(40))
		if err := c.SendData(itt, r2t.U32(20), 0, data[:off+int(r2t.U32(44))], off); err != nil {
			return err
		}
	}
	if r, err := c.Finish(itt, write); err != nil || r.Status != 0 {
		return fmt.Errorf("write: %+v, %w", r, err)
	}
	return checkRead(c, lba, data, p)
}

// checkRead reads data back and looks at the PDUs.
func checkRead(c *iscsitest.Conn, lba uint32, data []byte, p parameters) error {
	req, _ := c.Request(iscsitest.Read10(lba, uint16(len(data)/blockSize), blockSize))
	if err := c.Send(req); err != nil {
		return err
	}
	var got []byte
	for sequence := 0; len(got) < len(data); {
		d, err := c.Receive()
		if err != nil {
			return err
		}
		sequence += len(d.Data)
		if d.Op() != 0x25 || len(d.Data) > p.sendLimit || sequence > p.maxBurst {
			return fmt.Errorf("with segments of %d and sequences of %d bytes: %v", p.sendLimit, p.maxBurst, &d)
		}
		if d.BHS[1]&0x80 != 0 {
			sequence = 0
		}
		got = append(got, d.Data...)
	}
	if string(got) != string(data) {
		return fmt.Errorf("what was read isn't what was written")
	}
	return nil
}
