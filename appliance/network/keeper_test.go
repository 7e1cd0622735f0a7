package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeDHCP answers by functions and writes down what it was asked and when.
type fakeDHCP struct {
	start   time.Time
	log     *[]string
	request func() (*Lease, error)
	renew   func() (*Lease, error)
}

func (f fakeDHCP) Request(_ context.Context, _ string, hint netip.Addr) (*Lease, error) {
	h := ""
	if hint.IsValid() {
		h = " " + hint.String()
	}
	*f.log = append(*f.log, fmt.Sprintf("%v request%s", time.Since(f.start), h))
	return f.request()
}

func (f fakeDHCP) Renew(_ context.Context, _ string, l *Lease) (*Lease, error) {
	*f.log = append(*f.log, fmt.Sprintf("%v renew %v", time.Since(f.start), l.Address.Addr()))
	return f.renew()
}

func lease(address string) *Lease {
	return &Lease{Address: prefix(address), Start: time.Now(), Renew: 500 * time.Second, Rebind: 875 * time.Second, Expire: 1000 * time.Second}
}

func TestKeeper(t *testing.T) {
	silence := errors.New("silence")
	ok := func() (*Lease, error) { return lease("10.0.0.5/24"), nil }
	never := func() (*Lease, error) { return nil, silence }
	once := func() func() (*Lease, error) { // an answer, then silence
		n := 0
		return func() (*Lease, error) {
			if n++; n == 1 {
				return ok()
			}
			return never()
		}
	}
	for _, tt := range []struct {
		name           string
		request, renew func() (*Lease, error)
		kickAfter      time.Duration
		runFor         time.Duration
		want           []string
	}{
		{"extends", ok, ok, 0, 1200 * time.Second, []string{
			"0s request", "0s told 10.0.0.5", "8m20s renew 10.0.0.5", "8m20s told 10.0.0.5", "16m40s renew 10.0.0.5", "16m40s told 10.0.0.5"}},
		{"backs off", never, never, 0, 65 * time.Second, []string{
			"0s request", "0s told none: silence", "1s request", "1s told none: silence", "3s request", "3s told none: silence", "7s request", "7s told none: silence",
			"15s request", "15s told none: silence", "31s request", "31s told none: silence", "1m1s request", "1m1s told none: silence"}},
		{"a link that comes back ends the pause", never, never, 20 * time.Second, 22 * time.Second, []string{
			"0s request", "0s told none: silence", "1s request", "1s told none: silence", "3s request", "3s told none: silence", "7s request", "7s told none: silence",
			"15s request", "15s told none: silence", "20s request", "20s told none: silence", "21s request", "21s told none: silence"}},
		{"a link that comes back asks for the same address", ok, ok, 20 * time.Second, 22 * time.Second, []string{
			"0s request", "0s told 10.0.0.5", "20s request 10.0.0.5", "20s told 10.0.0.5"}},
		{"server takes it back", once(), func() (*Lease, error) { return nil, ErrRefused }, 0, 500500 * time.Millisecond, []string{
			"0s request", "0s told 10.0.0.5", "8m20s renew 10.0.0.5", "8m20s told none: the DHCP server took the address back", "8m20s request", "8m20s told none: silence"}},
		{"drops it when it expires", once(), never, 0, 1010 * time.Second, []string{
			"0s request", "0s told 10.0.0.5",
			"8m20s renew 10.0.0.5", "11m27.5s renew 10.0.0.5", "13m1.25s renew 10.0.0.5", "14m1.25s renew 10.0.0.5", "14m35s renew 10.0.0.5",
			"14m35s request 10.0.0.5", "14m35s told 10.0.0.5: silence", "14m36s request 10.0.0.5", "14m36s told 10.0.0.5: silence",
			"14m38s request 10.0.0.5", "14m38s told 10.0.0.5: silence", "14m42s request 10.0.0.5", "14m42s told 10.0.0.5: silence",
			"14m50s request 10.0.0.5", "14m50s told 10.0.0.5: silence", "15m6s request 10.0.0.5", "15m6s told 10.0.0.5: silence",
			"15m36s request 10.0.0.5", "15m36s told 10.0.0.5: silence", "16m6s request 10.0.0.5", "16m6s told 10.0.0.5: silence",
			"16m36s request 10.0.0.5", "16m36s told 10.0.0.5: silence",
			"16m40s request 10.0.0.5", "16m40s told none: " + errExpired.Error()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []string
				start := time.Now()
				kick := make(chan struct{}, 1)
				k := &keeper{link: "eth0", kick: kick, dhcp: fakeDHCP{start, &got, tt.request, tt.renew}, tell: func(l *Lease, err error) {
					text := "none"
					if l != nil {
						text = l.Address.Addr().String()
					}
					if err != nil {
						text += ": " + err.Error()
					}
					got = append(got, fmt.Sprintf("%v told %s", time.Since(start), text))
				}}
				ctx, cancel := context.WithTimeout(t.Context(), tt.runFor)
				defer cancel()
				if tt.kickAfter > 0 {
					time.AfterFunc(tt.kickAfter, func() { kick <- struct{}{} })
				}
				k.run(ctx)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			})
		})
	}
}
