//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// noteCuts adds a line about power cuts to the file that an environment variable names,
// if it is set.
func noteCuts(t *testing.T, variable string, seed uint64, done int, found map[string]int) {
	t.Helper()
	name := os.Getenv(variable)
	if name == "" {
		return
	}
	result := "ok"
	if t.Failed() {
		result = "FAILED"
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "| %s | %s | %s | %d | %d | %v | %s |\n", time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(run(t, "git", "rev-parse", "--short", "HEAD")),
		strings.TrimPrefix(strings.TrimPrefix(t.Name(), "TestUpdate"), "TestMend"), seed, done, found, result); err != nil {
		t.Fatal(err)
	}
}

// number is what an environment variable says, or else usual.
func number(t *testing.T, name string, usual int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
