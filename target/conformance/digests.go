package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"sanstick/target/iscsitest"
)

// digester stands between an initiator without digests and the target: it asks
// for them in login, adds them to what the initiator sends, and checks and
// removes those of the target. libiscsi knows no data digests, and
// iscsi-test-cu always prefers to have no header digests.
type digester struct {
	listener     net.Listener
	target       string
	header, data bool
	agreed       atomic.Int32 // sessions

	mu   sync.Mutex
	errs []error // of the target
	wg   sync.WaitGroup
}

// newDigester starts a digester on a port that the kernel picks.
func newDigester(ctx context.Context, target string, header, data bool) (*digester, error) {
	l, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	d := &digester{listener: l, target: target, header: header, data: data}
	d.wg.Go(func() {
		for {
			initiator, err := l.Accept()
			if err != nil {
				return
			}
			d.wg.Go(func() { d.serve(ctx, initiator) })
		}
	})
	return d, nil
}

// listen listens on a port of loopback that the kernel picks.
func listen(ctx context.Context) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return l, nil
}

// stop waits for the connections to end, which the initiator does, and returns
// what was wrong with the target's digests.
func (d *digester) stop() error {
	d.listener.Close()
	d.wg.Wait()
	if d.agreed.Load() == 0 {
		d.errs = append(d.errs, errors.New("no session had digests"))
	}
	return errors.Join(d.errs...)
}

func (d *digester) serve(ctx context.Context, initiator net.Conn) {
	defer initiator.Close()
	target, err := new(net.Dialer).DialContext(ctx, "tcp", d.target)
	if err != nil {
		return // the initiator sees it
	}
	defer target.Close()
	stop := context.AfterFunc(ctx, func() { initiator.Close(); target.Close() })
	defer stop()
	if err := d.login(initiator, target); err != nil {
		return // refused, or the initiator left; it knows better
	}
	d.agreed.Add(1)
	var both sync.WaitGroup
	both.Go(func() {
		defer target.Close()
		for {
			p, err := iscsitest.ReadPDU(initiator, false, false)
			if err != nil {
				return
			}
			if _, err := target.Write(p.Bytes(d.header, d.data)); err != nil {
				return
			}
		}
	})
	for {
		var p iscsitest.PDU
		if p, err = iscsitest.ReadPDU(target, d.header, d.data); err != nil {
			break
		}
		if _, err = initiator.Write(p.Bytes(false, false)); err != nil {
			break
		}
	}
	initiator.Close()
	both.Wait()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !isNet(err) {
		d.mu.Lock()
		d.errs = append(d.errs, err)
		d.mu.Unlock()
	}
}

func isNet(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

// login carries the PDUs of a login until the full feature phase begins. Each
// request has one response.
func (d *digester) login(initiator, target net.Conn) error {
	var agreed []byte
	for {
		req, err := iscsitest.ReadPDU(initiator, false, false)
		if err != nil {
			return err
		}
		req.Data = d.ask(req.Data)
		if _, err := target.Write(req.Bytes(false, false)); err != nil {
			return err
		}
		resp, err := iscsitest.ReadPDU(target, false, false)
		if err != nil {
			return err
		}
		agreed = append(agreed, resp.Data...)
		resp.Data = digestKey.ReplaceAll(resp.Data, []byte("${1}None\x00"))
		if _, err := initiator.Write(resp.Bytes(false, false)); err != nil {
			return err
		}
		const transit, fullFeature = 0x80, 3
		switch {
		case resp.U16(36) != 0:
			return errors.New("the target refuses")
		case resp.BHS[1]&transit == 0 || resp.BHS[1]&3 != fullFeature:
		case bytes.Contains(agreed, []byte("HeaderDigest=CRC32C\x00")) != d.header, bytes.Contains(agreed, []byte("DataDigest=CRC32C\x00")) != d.data:
			return errors.New("the target does not take the digests asked for")
		default:
			return nil
		}
	}
}

var digestKey = regexp.MustCompile(`((?:Header|Data)Digest=)[^\x00]*\x00`)

// ask puts the digests that are wanted into a login's keys.
func (d *digester) ask(keys []byte) []byte {
	return digestKey.ReplaceAllFunc(keys, func(k []byte) []byte {
		name, _, _ := strings.Cut(string(k), "=")
		if name == "HeaderDigest" && d.header || name == "DataDigest" && d.data {
			return []byte(name + "=CRC32C\x00")
		}
		return []byte(name + "=None\x00")
	})
}
