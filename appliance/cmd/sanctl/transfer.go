package main

func transferCommands() []command {
	return []command{importCommand(), exportCommand(), verifyCommand()}
}
