package pdu

import (
	"bytes"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// socketPair returns two ends of a connection that holds little.
func socketPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<10); err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "socket")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		t.Cleanup(func() { ends[i].Close() })
	}
	return ends[0], ends[1]
}

// FlushNow writes what fits, and more can be added behind the rest. In the end
// all has been written, in order.
func TestFlushNow(t *testing.T) {
	near, far := socketPair(t)
	raw, err := near.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	now := Batch{HeaderDigest: true, DataDigest: true}
	plain := now
	var want, got bytes.Buffer
	buf := make([]byte, 64<<10)
	read := func() {
		n, err := far.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(buf[:n])
	}
	partly := 0
	for i := range 400 {
		h := BHS{0: byte(OpDataIn), 16: byte(i >> 8), 17: byte(i)}
		data := bytes.Repeat([]byte{byte(i)}, []int{0, 7, 511, 513, 4096, 70000}[i%6])
		now.Add(&h, nil, data)
		plain.Add(&h, nil, data)
		if i%5 != 0 {
			continue
		}
		all, err := now.FlushNow(raw)
		if err != nil {
			t.Fatal(err)
		}
		if all != (now.Size() == 0) {
			t.Fatalf("all is %v, with %d bytes left", all, now.Size())
		}
		if !all {
			partly++
			read()
		}
	}
	if partly == 0 {
		t.Error("everything fitted: nothing was tested")
	}
	for {
		all, err := now.FlushNow(raw)
		if err != nil {
			t.Fatal(err)
		}
		if all {
			break
		}
		read()
	}
	near.Close()
	if _, err := io.Copy(&got, far); err != nil {
		t.Fatal(err)
	}
	if err := plain.Flush(&want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("%d bytes came, not the %d that Flush writes", got.Len(), want.Len())
	}
}

// Flush goes on where FlushNow has stopped.
func TestFlushAfterFlushNow(t *testing.T) {
	near, far := socketPair(t)
	raw, err := near.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	h := BHS{0: byte(OpDataIn)}
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
	b.Add(&h, nil, data)
	size := b.Size()
	if all, err := b.FlushNow(raw); all || err != nil {
		t.Fatalf("%v, %v", all, err)
	}
	done := make(chan error, 1)
	go func() {
		done <- b.Flush(near)
		near.Close()
	}()
	got, err := io.ReadAll(far)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(got) != size || !bytes.Equal(got[48:], data) {
		t.Errorf("%d bytes came, of %d", len(got), size)
	}
}

func TestFlushNowOnAClosedConnection(t *testing.T) {
	near, _ := socketPair(t)
	raw, err := near.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	near.Close()
	var b Batch
	b.Add(&BHS{}, nil, nil)
	if all, err := b.FlushNow(raw); all || err == nil {
		t.Errorf("%v, %v", all, err)
	}
}
