package qemu

import (
	"fmt"
	"net"
	"strconv"
)

// FreePort returns the first free TCP port on 127.0.0.1 from preferred on, of at most 100.
func FreePort(preferred int) (int, error) {
	if preferred < 1 || preferred > 65535 {
		return 0, fmt.Errorf("cannot use port %d: want 1 to 65535", preferred)
	}
	for p := preferred; p < preferred+100 && p <= 65535; p++ {
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil {
			continue // in use, or not allowed
		}
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("cannot release port %d: %w", p, err)
		}
		return p, nil
	}
	return 0, fmt.Errorf("cannot find a free port on 127.0.0.1 from %d on", preferred)
}
