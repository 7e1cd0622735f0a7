package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sanstick/appliance/api"
	"sanstick/appliance/status"
)

// isTerminal tells whether a person is at the other end.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// readLine reads a line of bounded length and nothing beyond it.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); len(line) < 1024; {
		n, err := r.Read(one)
		if n == 1 && one[0] == '\n' {
			break
		}
		line = append(line, one[:n]...)
		if err != nil {
			return string(line), err
		}
	}
	return string(line), nil
}

// progressLine tells a person how far something is: on a terminal in one line
// that changes, else in a line now and then.
type progressLine struct {
	began, told time.Time
	first       int64 // what was done when it began
	width       int
}

// logPeriod is how often a line is written that goes to no terminal.
const logPeriod = 10 * time.Second

// showProgress is what verbs give to api as their progress function.
func (c *call) showProgress(p api.Progress) {
	l, now := &c.progress, time.Now()
	if p.What == "" && p.Total == 0 && p.Done == 0 {
		return // only a sign of life
	}
	if l.began.IsZero() {
		l.began, l.first = now, p.Done
	}
	text := progressText(p, p.Done-l.first, now.Sub(l.began))
	if isTerminal(c.stderr) {
		fmt.Fprintf(c.stderr, "\r%s%s", text, strings.Repeat(" ", max(0, l.width-len(text))))
		l.width = len(text)
	} else if now.Sub(l.told) >= logPeriod {
		l.told = now
		fmt.Fprintln(c.stderr, text)
	}
}

// endProgress goes to a new line, if there is a line of progress.
func (c *call) endProgress() {
	if c.progress.width > 0 {
		fmt.Fprintln(c.stderr)
		c.progress = progressLine{}
	}
}

// progressText says how far it is, how fast it was for bytes in took, and how
// long it will take.
func progressText(p api.Progress, bytes int64, took time.Duration) string {
	text := status.Clean(p.What)
	if p.Done == 0 && p.Total == 0 {
		return text
	}
	text += ": " + status.FormatBytes(p.Done)
	if p.Total > 0 {
		text = fmt.Sprintf("%s of %s, %s %%", text, status.FormatBytes(p.Total), percent(100*float64(p.Done)/float64(p.Total)))
	}
	if took < time.Second || bytes <= 0 {
		return text
	}
	rate := float64(bytes) / took.Seconds()
	text += fmt.Sprintf(", %s/s", status.FormatBytes(int64(rate)))
	if left := p.Total - p.Done; p.Total > 0 && left > 0 {
		text += ", " + status.FormatDuration(time.Duration(float64(left)/rate*float64(time.Second))) + " left"
	}
	return text
}
