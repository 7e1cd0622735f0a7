package api

import "sanstick/appliance/status"

// OpenArray assembles an md array of another machine, for reading.
var OpenArray = Verb[OpenArrayRequest, status.Array]{"array.open"}

// OpenArrayRequest names the array.
type OpenArrayRequest struct {
	UUID     string `json:"uuid"`
	Degraded bool   `json:"degraded,omitempty"` // even if it lacks members
}

// CloseArray stops an array that OpenArray has assembled.
var CloseArray = Verb[CloseArrayRequest, CloseArrayRequest]{"array.close"}

// CloseArrayRequest names the array.
type CloseArrayRequest struct {
	UUID string `json:"uuid"`
}
