package iscsi

import (
	"net"
	"testing"
	"time"

	"sanstick/target/iscsi/internal/login"
	"sanstick/target/iscsi/internal/pdu"
)

// Whatever fills the writer's queue (requests for data of commands that were
// aborted, answers to immediate requests), nothing more is listened to until
// there is room again.
func TestReaderWaitsForRoom(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	s := newSession(NewServer(Options{}), near, &listening{}, login.Params{RecvLimit: 8192}, nil)
	defer s.cancel()
	m := newMeter(near)
	s.begin(pdu.NewReader(m, loginBuffer), m, 1, s.log)
	for range maxQueued {
		s.w.sendNow(item{})
	}
	ping := pdu.BHS{0x40, 0x80}
	ping[16], ping[17], ping[18], ping[19] = 0xff, 0xff, 0xff, 0xff // wants no answer
	done := make(chan error, 1)
	go func() { done <- s.receive(&ping, nil) }()
	select {
	case <-done:
		t.Error("a request was worked on with the queue full")
	case <-time.After(50 * time.Millisecond):
		s.w.take()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
