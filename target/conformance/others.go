package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// other is a check that isn't of iscsi-test-cu: tests in Go of this tree.
type other struct {
	what           string
	args           []string // of go test
	passed, failed int
	failures       []string
	// captured: tshark reads what is said.
	captured  capturing
	dissected dissected
}

// capturing is how a check is captured.
type capturing int

const (
	notCaptured capturing = iota
	// onTargetd: the tests run on a targetd; args get its portal.
	onTargetd
	// inProcess: the tests have the target in their own process; args get the
	// address where it has to listen.
	inProcess
)

// otherChecks are the foreign initiators that are tested in Go, and the long
// variants of our own.
func otherChecks() []other {
	return []other{
		{what: "QEMU's `iscsi:` driver, also with header digests; `iscsi-ls`, `iscsi-inq`, `iscsi-readcapacity16`",
			args: []string{"-run", "Libiscsi|QEMU", "./target"}},
		{what: "`Sanitize.Reset` on a slow unit", args: []string{"-run", "SanitizeReset", "./target/conformance", "-long"}},
		{what: "UNH-IOL lists: full feature phase, login, CHAP", args: []string{"-run", "UNH", "./target/unh"}, captured: onTargetd},
		{what: "key negotiation against a model, 20,000 logins", args: []string{"-run", "Key|Pairs", "./target/unh", "-long"}, captured: inProcess},
		{what: "allocation and parameter list lengths, 0 to 65,535; residuals", args: []string{"-run", "Lengths|Residuals", "./target/unh", "-long"}},
		// Without the disc, whose mode pages tshark takes for a disk's.
		{what: "a part of these lengths, captured", args: []string{"-run", "Lengths|Residuals", "-skip", "Lengths/disc", "./target/unh"}, captured: inProcess},
		{what: "100,000 random commands, the same to tgt; every difference is explained in `target/unh`", args: []string{"-run", "DifferencesToTgt", "./target/unh", "-long"}},
		{what: "a part of these commands, captured", args: []string{"-run", "DifferencesToTgt", "./target/unh"}, captured: inProcess},
	}
}

func runOthers(ctx context.Context, bin string, capture bool) []other {
	all := otherChecks()
	for i := range all {
		o := &all[i]
		start := time.Now()
		if o.captured != notCaptured && capture {
			if err := o.runCaptured(ctx, bin); err != nil {
				o.failures = append(o.failures, fmt.Sprintf("%s: %v", o.what, err))
			}
		} else {
			o.run(ctx)
		}
		fmt.Printf("%s: %d passed, %d failed, %.0f s\n", o.what, o.passed, o.failed, time.Since(start).Seconds())
		for _, f := range o.failures {
			fmt.Println(" ", f)
		}
	}
	return all
}

// unhConfig is a targetd with the targets that the tests of target/unh want.
const unhConfig = `listen = ["127.0.0.1:0"]
[[target]]
iqn = "iqn.2026-01.test:unh"
alias = "alias"
initiators = ["*"]
lun = [{ number = 0, path = "mem:8MiB", thin = true }]
[[target]]
iqn = "iqn.2026-01.test:unh-second"
initiators = ["*"]
lun = [{ number = 0, path = "mem:8MiB", thin = true }]
[[target]]
iqn = "iqn.2026-01.test:unh-chap"
initiators = ["*"]
chap = { user = "alice", secret = "secret-of-alice-1" }
lun = [{ number = 0, path = "mem:8MiB", thin = true }]
[[target]]
iqn = "iqn.2026-01.test:unh-mutual"
initiators = ["*"]
chap = { user = "alice", secret = "secret-of-alice-1" }
mutual = { user = "target", secret = "secret-of-target" }
lun = [{ number = 0, path = "mem:8MiB", thin = true }]
`

// runCaptured runs the tests with a capture.
func (o *other) runCaptured(ctx context.Context, bin string) (err error) {
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w := watcher{ctx: ctx, dir: dir}
	if o.captured == inProcess {
		addr, err := freeAddr()
		if err != nil {
			return err
		}
		_, port, _ := net.SplitHostPort(addr)
		w.ports, o.args = []string{port}, append(o.args, "-listen", addr)
	} else {
		s, startErr := startUNH(ctx, bin, dir)
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		w.ports, o.args = s.ports(), append(o.args, "-portal", s.addrs[0])
	}
	w.begin()
	o.run(ctx)
	err = w.end()
	o.dissected = w.found
	return err
}

// freeAddr returns an address of loopback where nobody listens just now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// startUNH starts a targetd with the targets of unhConfig.
func startUNH(ctx context.Context, bin, dir string) (*server, error) {
	config := filepath.Join(dir, "targetd.toml")
	if err := os.WriteFile(config, []byte(unhConfig), 0o600); err != nil {
		return nil, err
	}
	return start(ctx, bin, 1, "--config", config)
}

// run runs the tests and counts those that have no subtests.
func (o *other) run(ctx context.Context) {
	args := append([]string{"test", "-json", "-count", "1", "-timeout", "30m"}, o.args...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.WaitDelay = 10 * time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	outputs := map[string]string{}
	results := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var e struct{ Action, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch e.Action {
		case "output":
			outputs[e.Test] += e.Output
		case "pass", "fail", "skip":
			results[e.Test] = e.Action
		}
	}
	for name, action := range results {
		parent := false
		for other := range results {
			parent = parent || strings.HasPrefix(other, name+"/")
		}
		switch {
		case name == "" || parent && action == "pass":
		case action == "pass":
			o.passed++
		default:
			o.failed++
			o.failures = append(o.failures, fmt.Sprintf("%s: %s: %s", name, action, tail(outputs[name])))
		}
	}
	if err != nil && o.failed == 0 || o.passed == 0 {
		o.failed++
		o.failures = append(o.failures, fmt.Sprintf("go %s: %v: %s", strings.Join(args, " "), err, tail(outputs[""]+errs.String())))
	}
}

func tail(s string) string { return s[max(0, len(s)-2000):] }
