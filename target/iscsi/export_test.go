package iscsi

// SetFirstStatSN has connections begin with another StatSN. Call it before
// Serve.
func (s *Server) SetFirstStatSN(sn uint32) { s.firstStatSN = sn }

// Held returns how much of the memory for data is in use, in bytes, and how
// many workers there are.
func (s *Server) Held() (bytes int64, workers int) {
	for _, p := range []*pool{s.memory.in, s.memory.out, s.memory.first} {
		p.mu.Lock()
		bytes += p.held
		p.mu.Unlock()
	}
	return bytes, int(s.workers.Load())
}
