package scsi

import (
	"testing"

	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

// oneTask is a transport with one command, which is in work.
type oneTask struct {
	task *Task
	gone chan struct{}
}

func (o *oneTask) AbortTasks(match func(*Task) bool) []<-chan struct{} {
	if !match(o.task) {
		return nil
	}
	return []<-chan struct{}{o.gone}
}

// PREEMPT AND ABORT waits for a command that came to a LUN which is being
// detached, and for none on other units.
func TestPreemptAndAbortWhileDetaching(t *testing.T) {
	c := newCluster(t, UnitOptions{})
	otherUnit := newTestUnit(t, c.mem, "two", UnitOptions{})
	if err := c.dev.Attach(1, otherUnit); err != nil {
		t.Fatal(err)
	}
	far := NewDevice(testName + "2") // the same unit by another target
	if err := far.Attach(7, c.unit); err != nil {
		t.Fatal(err)
	}
	by := far.NewNexus(nodePort("f"), Port{RelativeID: 1, Name: testName + "2,t,0x0001"}, nil)
	wantSense(t, run(by, 7, "00", nil), unitAttention, powerOnReset)
	if r := run(by, 7, "5f 00 00 0000 00000018 00", parameters(0, 0xf, 0)); r.Status != Good {
		t.Fatal(r.Status)
	}
	for _, n := range c.nodes {
		run(n, 0, "00", nil) // LUNs have changed
	}
	c.do("a", prRegister, 0, 0, 0xa)
	c.do("b", prRegister, 0, 0, 0xa)

	arrived, release := c.fault.Hold(faultdev.Write)
	running := &oneTask{c.nodes["a"].NewTask([8]byte{}, cdb("2a 00 00000000 00 0001 00")), make(chan struct{})}
	elsewhere := &oneTask{c.nodes["b"].NewTask([8]byte{0, 1}, cdb("00")), nil} // would wait for ever
	c.nodes["a"].SetAborter(running)
	c.nodes["b"].SetAborter(elsewhere)
	go func() {
		running.task.Run(make([]byte, 512), nil)
		close(running.gone)
	}()
	<-arrived
	detached, preempted := make(chan error, 1), make(chan Status, 1)
	go func() { detached <- c.dev.Detach(0) }()
	for c.dev.HasUnit([8]byte{}) {
	}
	go func() { preempted <- run(by, 7, "5f 05 01 0000 00000018 00", parameters(0xf, 0xa, 0)).Status }()
	select {
	case <-preempted:
		t.Error("PREEMPT AND ABORT doesn't wait")
	case <-detached:
		t.Error("Detach doesn't wait")
	case <-afterMoment():
	}
	if !running.task.cancelled() || elsewhere.task.cancelled() {
		t.Error("the wrong commands are aborted")
	}
	release()
	if err := <-detached; err != nil {
		t.Error(err)
	}
	if s := <-preempted; s != Good {
		t.Error(s)
	}
}

// What has been aborted does nothing any more, even if it is a reservation
// command that had begun.
func TestAbortedReservationCommands(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	for command, out := range map[string][]byte{
		"16":                        nil,
		"5f 00 00 0000 00000018 00": parameters(0, 1, 0),
	} {
		task := r.nexus.NewTask([8]byte{}, cdb(command))
		task.Cancel()
		task.Run(out, nil)
	}
	x := &r.unit.reservations
	if x.legacy != nil || len(x.state.registrations) != 0 || x.guard.Load() != nil {
		t.Errorf("%+v", x.state)
	}
}
