package supervise

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Under nohup(1) whatever the tests start would inherit an ignored SIGHUP; a
// signal that is caught has its default action again after execve.
func init() {
	if os.Getenv("SUPERVISE_HELPER") == "" && signal.Ignored(unix.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), unix.SIGHUP)
	}
}
