package iscsi

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// backoff makes a host that gives wrong secrets wait longer and longer for its
// answer. Those that give the right one never wait. Together with the limit on
// logins of one host that are under way, it bounds how fast one can guess.
// Safe for concurrent use; the zero value is ready.
type backoff struct {
	mu    sync.Mutex
	hosts map[netip.Prefix]*failures
}

type failures struct {
	n    int
	last time.Time
}

const (
	freeFailures   = 3 // people mistype
	firstDelay     = 25 * time.Millisecond
	longestDelay   = 800 * time.Millisecond
	failuresForget = time.Minute
	maxFailHosts   = 1024
)

// failed notes a failure, and returns how long its answer has to wait.
func (b *backoff) failed(addr net.Addr) time.Duration {
	host, now := hostOf(addr), time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hosts == nil {
		b.hosts = make(map[netip.Prefix]*failures)
	}
	f := b.hosts[host]
	if f == nil || now.Sub(f.last) > failuresForget {
		if len(b.hosts) >= maxFailHosts {
			b.makeRoom(now)
		}
		f = &failures{}
		b.hosts[host] = f
	}
	f.n++
	f.last = now
	d := time.Duration(0)
	if f.n > freeFailures {
		d = min(firstDelay<<min(f.n-freeFailures-1, 10), longestDelay)
	}
	return d
}

// makeRoom forgets the old ones, and if there are none, whichever comes first.
func (b *backoff) makeRoom(now time.Time) {
	for h, f := range b.hosts {
		if now.Sub(f.last) > failuresForget {
			delete(b.hosts, h)
		}
	}
	for h := range b.hosts {
		if len(b.hosts) < maxFailHosts {
			return
		}
		delete(b.hosts, h)
	}
}
