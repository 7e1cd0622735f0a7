package run

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// announce waits until the appliance shows a volume and prints what to try next. While waiting it says so now and then.
func announce(ctx context.Context, o Options, address string, interactive bool) {
	const poll, remind = 250 * time.Millisecond, 10 * time.Second
	tick := time.NewTicker(poll)
	defer tick.Stop()
	said, answered := time.Now(), false
	for {
		targets, err := discover(ctx, address)
		if len(targets) > 0 {
			o.Log.Step("the LUN answers")
			fmt.Fprint(o.Out, hints(address, targets[0], interactive))
			return
		}
		if time.Since(said) > remind {
			said = time.Now()
			switch {
			case err != nil:
				o.Log.Step("waiting for the appliance to answer on %s", address)
			case !answered:
				answered = true
				o.Log.Step("the appliance answers on %s, but shows no volume to us; see its console, and the initiators in its configuration", address)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// hints are the commands to try next.
func hints(address, target string, interactive bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
Try in another terminal:
  iscsi-ls -s iscsi://%[1]s
  qemu-img info iscsi://%[1]s/%[2]s/0
  qemu-img bench -c 10000 -w -f raw -t none iscsi://%[1]s/%[2]s/0
`, address, target)
	if interactive {
		b.WriteString("This terminal is the appliance's console: press Enter for a shell, sanctl status shows how it is.\n" +
			"Ctrl-C powers it off (Ctrl-A C types a Ctrl-C on its console).\n\n")
	} else {
		b.WriteString("Ctrl-C powers the appliance off. Started from a terminal, this would be its console.\n\n")
	}
	return b.String()
}

// discover asks a target for the names it shows to anyone: a discovery session of two requests (RFC 7143 chapters 6.3
// and 11). It is just enough to see that the appliance is up; nothing is read or written.
func discover(ctx context.Context, address string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the appliance: %w", err)
	}
	defer conn.Close()
	// End by a reset: QEMU's network would deliver an ended connection to a guest that comes up a minute later.
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetLinger(0); err != nil {
			return nil, fmt.Errorf("cannot reach the appliance: %w", err)
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := exchange(conn, loginRequest()); err != nil {
		return nil, err
	}
	text, err := exchange(conn, textRequest())
	if err != nil {
		return nil, err
	}
	var targets []string
	for _, kv := range strings.Split(text, "\x00") {
		if name, ok := strings.CutPrefix(kv, "TargetName="); ok {
			targets = append(targets, name)
		}
	}
	return targets, nil
}
