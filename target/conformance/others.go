package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// other is a check that isn't of iscsi-test-cu: tests in Go of this tree.
type other struct {
	what           string
	args           []string // of go test
	passed, failed int
	failures       []string
	took           time.Duration
}

// otherChecks are the foreign initiators that are tested in Go, and the long
// variants of our own.
func otherChecks() []other {
	return []other{
		{what: "QEMU's `iscsi:` driver, also with header digests; `iscsi-ls`, `iscsi-inq`, `iscsi-readcapacity16`",
			args: []string{"-run", "Libiscsi|QEMU", "./target"}},
		{what: "`Sanitize.Reset` on a slow unit", args: []string{"-run", "SanitizeReset", "./target/conformance", "-long"}},
		{what: "UNH-IOL lists: full feature phase, login, CHAP", args: []string{"-run", "UNH", "./target/unh"}},
		{what: "key negotiation against a model, 20,000 logins", args: []string{"-run", "Key|Pairs", "./target/unh", "-long"}},
		{what: "allocation and parameter list lengths, 0 to 65,535; residuals", args: []string{"-run", "Lengths|Residuals", "./target/unh", "-long"}},
		{what: "100,000 random commands to our target and to tgt, every difference explained", args: []string{"-run", "Differences", "./target/unh", "-long"}},
	}
}

func runOthers(ctx context.Context) []other {
	all := otherChecks()
	for i := range all {
		o := &all[i]
		start := time.Now()
		o.run(ctx)
		o.took = time.Since(start)
		fmt.Printf("%s: %d passed, %d failed, %.0f s\n", o.what, o.passed, o.failed, o.took.Seconds())
		for _, f := range o.failures {
			fmt.Println(" ", f)
		}
	}
	return all
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
