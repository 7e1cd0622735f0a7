package iscsi

// SetFirstStatSN has connections begin with another StatSN. Call it before
// Serve.
func (s *Server) SetFirstStatSN(sn uint32) { s.firstStatSN = sn }
