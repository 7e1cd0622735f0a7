package iscsi

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"sanstick/target/iscsi/internal/login"
	"sanstick/target/iscsi/internal/pdu"
)

// Buffers of a connection's reader, in bytes: small until the peer has proven
// who it is.
const (
	loginBuffer   = 4 << 10
	sessionBuffer = 64 << 10
)

// login takes a connection through the login phase. On success the session is
// entered and its connection ready for the full-feature phase.
func (s *Server) login(ctx context.Context, nc net.Conn, portal *listening, log *slog.Logger) (*session, error) {
	deadline := time.Now().Add(s.o.LoginTimeout)
	if err := nc.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("cannot bound the login: %w", err)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	m := newMeter(nc)
	r := pdu.NewReader(m, loginBuffer)
	r.MaxData = login.MaxData
	fsm := login.New(s.loginConfig(portal.Group))
	defer fsm.Close()
	var out pdu.Batch
	for statSN := s.firstStatSN; ; statSN++ {
		h, ahs, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("cannot read a login request: %w", err)
		}
		if h.Opcode() != pdu.OpLoginRequest || len(ahs) != 0 {
			return nil, fmt.Errorf("%v with %d bytes of additional header before the end of login", h.Opcode(), len(ahs))
		}
		var req pdu.LoginRequest
		req.Decode(h)
		data := make([]byte, h.DataLen())
		if err := r.Data(data); err != nil {
			return nil, fmt.Errorf("cannot read a login request: %w", err)
		}
		resp, text := fsm.Step(&req, data)
		p := fsm.Params()
		var sess *session
		if resp.Status == 0 && resp.Transit && resp.NSG == 3 {
			var st login.Status
			if sess, st = s.join(ctx, nc, portal, p); st != login.Success {
				resp, text = pdu.LoginResponse{CSG: req.CSG, ISID: req.ISID, TSIH: req.TSIH, ITT: req.ITT, Status: uint16(st)}, nil
			} else {
				resp.TSIH = sess.tsih
			}
		}
		if login.Status(resp.Status) == login.AuthFailed {
			s.counters.authFailures.Add(1)
			if err := pause(ctx, s.guesses.failed(nc.RemoteAddr())); err != nil {
				return nil, fmt.Errorf("cannot answer a login request: %w", err)
			}
		}
		var rh pdu.BHS
		resp.Encode(&rh)
		w := pdu.Window{StatSN: statSN, ExpCmdSN: req.CmdSN, MaxCmdSN: req.CmdSN}
		if sess != nil {
			w = sess.window(statSN)
		}
		rh.SetWindow(w)
		out.Add(&rh, nil, text)
		err = out.Flush(nc)
		if sess != nil {
			if err == nil {
				err = nc.SetDeadline(time.Time{})
			}
			if err != nil {
				sess.abandon()
				return nil, fmt.Errorf("cannot end the login: %w", err)
			}
			sess.begin(r, m, statSN+1, log)
			return sess, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot answer a login request: %w", err)
		}
		if st := login.Status(resp.Status); st != login.Success {
			return nil, fmt.Errorf("login of initiator %q to target %q refused: %v", p.InitiatorName, p.TargetName, st)
		}
	}
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
