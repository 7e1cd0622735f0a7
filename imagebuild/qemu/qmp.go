package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// maxReply bounds what is read for one command, in bytes.
const maxReply = 1 << 20

// QMP runs one command of QEMU's control protocol and returns what it answers.
func (vm *VM) QMP(ctx context.Context, command string, arguments map[string]any) (json.RawMessage, error) {
	conn, err := vm.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot control QEMU: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	reply, err := talk(conn, command, arguments)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("cannot run QEMU command %s: %w", command, err)
	}
	return reply, nil
}

// dial connects to the control socket. QEMU makes it shortly after its start.
func (vm *VM) dial(ctx context.Context) (net.Conn, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", vm.qmpPath)
		if err == nil {
			return conn, nil
		}
		select {
		case <-vm.done:
			return nil, errStopped
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// talk does the handshake and one command.
func talk(rw io.ReadWriter, command string, arguments map[string]any) (json.RawMessage, error) {
	dec, enc := json.NewDecoder(io.LimitReader(rw, maxReply)), json.NewEncoder(rw)
	var greeting struct {
		QMP *json.RawMessage `json:"QMP"`
	}
	if err := dec.Decode(&greeting); err != nil {
		return nil, err
	}
	if greeting.QMP == nil {
		return nil, fmt.Errorf("this is not QEMU's control socket")
	}
	if _, err := execute(dec, enc, "qmp_capabilities", nil); err != nil {
		return nil, err
	}
	return execute(dec, enc, command, arguments)
}

func execute(dec *json.Decoder, enc *json.Encoder, command string, arguments map[string]any) (json.RawMessage, error) {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := enc.Encode(request); err != nil {
		return nil, err
	}
	for {
		var reply struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := dec.Decode(&reply); err != nil {
			return nil, err
		}
		switch {
		case reply.Error != nil:
			return nil, fmt.Errorf("QEMU says: %s", reply.Error.Desc)
		case reply.Return != nil:
			return reply.Return, nil
		} // anything else is an event
	}
}
