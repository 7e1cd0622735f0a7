package console

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
)

// A Handler is a slog.Handler that writes "init: Message key=value" to the
// consoles, and with all details to the kernel's log, where dmesg shows it
// among the kernel's own messages. What is below Info goes to the kernel's
// log only.
type Handler struct {
	kmsg, console io.Writer
	attrs         string
	group         string
}

// NewHandler makes a Handler. kmsg is /dev/kmsg, in which each write is a
// message.
func NewHandler(kmsg, console io.Writer) *Handler {
	return &Handler{kmsg: kmsg, console: console}
}

// The kernel shows messages on the consoles up to a level (see
// boot.ConsoleLevel); ours go there by themselves and mustn't come twice, so
// they never are more urgent than that.
const (
	facility    = 3 << 3 // daemon
	kmsgWarning = facility | 4
	kmsgInfo    = facility | 6
	kmsgDebug   = facility | 7
	maxKmsg     = 900 // the kernel cuts a message at about 1000 bytes
)

// Enabled implements slog.Handler.
func (h *Handler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	b.WriteString("init: ")
	b.WriteString(r.Message)
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(format(h.group, a))
		return true
	})
	line := b.String()

	level := kmsgDebug
	switch {
	case r.Level >= slog.LevelWarn:
		level = kmsgWarning
	case r.Level >= slog.LevelInfo:
		level = kmsgInfo
	}
	short := strings.ReplaceAll(line, "\n", " | ")
	_, err := fmt.Fprintf(h.kmsg, "<%d>%s\n", level, short[:min(len(short), maxKmsg)])
	if r.Level >= slog.LevelInfo {
		_, err = io.WriteString(h.console, line+"\n")
	}
	return err
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		c.attrs += format(h.group, a)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	c := *h
	c.group += name + "."
	return &c
}

func format(group string, a slog.Attr) string {
	v := a.Value.Resolve().String()
	if v == "" || strings.ContainsAny(v, " \"=") && !strings.Contains(v, "\n") {
		v = strconv.Quote(v)
	}
	return " " + group + a.Key + "=" + v
}
