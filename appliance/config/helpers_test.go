package config

import "fmt"

func lineKeyMsg(e *Error) string { return fmt.Sprintf("%d: %s: %s", e.Line, e.Key, e.Msg) }
