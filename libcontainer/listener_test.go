package libcontainer

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/nsenter"
)

// agent answers every mkdir(2) of a container with EXDEV. It returns what it
// was told about each process, and the calls it answered.
type agent struct {
	path   string
	states chan specs.ContainerProcessState
	calls  chan string
}

func startAgent(t *testing.T) *agent {
	t.Helper()
	a := &agent{filepath.Join(t.TempDir(), "agent"), make(chan specs.ContainerProcessState, 10), make(chan string, 100)}
	l, err := net.Listen("unix", a.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			state, fd, err := a.receive(conn.(*net.UnixConn))
			if err != nil {
				t.Error(err)
				return
			}
			a.states <- state
			go a.serve(fd)
		}
	}()
	return a
}

// receive takes the one message of a connection, which ends with it.
func (a *agent) receive(conn *net.UnixConn) (state specs.ContainerProcessState, fd int, err error) {
	defer conn.Close()
	buf, oob := make([]byte, 1<<16), make([]byte, 100)
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return state, -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return state, -1, fmt.Errorf("%d control messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return state, -1, fmt.Errorf("descriptors %v, %v", fds, err)
	}
	rest, err := io.ReadAll(conn)
	if err != nil {
		return state, -1, err
	}
	return state, fds[0], json.Unmarshal(append(buf[:n], rest...), &state)
}

func (a *agent) serve(fd int) {
	defer unix.Close(fd)
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && err != unix.EINTR || poll[0].Revents&unix.POLLHUP != 0 {
			return
		}
		// struct seccomp_notif {id u64, pid, flags u32, {nr, arch u32, ip, args[6] u64}}
		var request struct {
			id, pidAndFlags uint64
			nr, arch        uint32
			rest            [7]uint64
		}
		if _, _, err := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&request))); err != 0 {
			continue // it has ended
		}
		name, _ := libseccomp.ScmpSyscall(request.nr).GetName()
		a.calls <- name
		// struct seccomp_notif_resp {id u64, val s64, error s32, flags u32}
		response := struct {
			id    uint64
			value int64
			errno int32
			flags uint32
		}{id: request.id, errno: -int32(unix.EXDEV)}
		if name != "mkdir" && name != "mkdirat" { // the walker's
			response.errno, response.flags = 0, unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
		}
		unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&response)))
	}
}

// notifying asks the agent about these calls.
func notifying(path string, names ...string) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, ListenerPath: path, ListenerMetadata: "for the agent",
		Flags:    []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv, "SECCOMP_FILTER_FLAG_TSYNC"},
		Syscalls: []specs.LinuxSyscall{{Names: names, Action: specs.ActNotify}},
	}
}

func next[T any](t *testing.T, from chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(10 * time.Second):
		t.Fatal("the agent was not told")
	}
	return v
}

// An agent is handed the filter's descriptor with the state of the
// specification, and decides on the calls of the container's process, and of
// one that joins it; those of the walker that the filter happens to notify
// it has to let pass.
//
//spec:78
func TestSeccompAgent(t *testing.T) {
	needRoot(t)
	script := []string{"/bin/sh", "-c", `busybox mkdir /new 2>&1; echo status $?; sleep 1000`}
	for _, tt := range []struct {
		name   string
		fifo   bool
		names  []string
		change func(*specs.Spec)
	}{
		{name: "create", fifo: true, names: []string{"mkdir", "mkdirat"}},
		{name: "run", names: []string{"mkdir", "mkdirat"}},
		{name: "create with notified calls of the walker", fifo: true, names: []string{"mkdir", "mkdirat", "recvmsg", "openat", "close", "capset", "execve"}},
		{name: "without no_new_privs", fifo: true, names: []string{"mkdir", "mkdirat"},
			change: func(s *specs.Spec) { s.Process.NoNewPrivileges = false }},
		{name: "few descriptors", fifo: true, names: []string{"mkdir", "mkdirat"},
			change: func(s *specs.Spec) {
				s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 20, Hard: 20}}
			}},
		{name: "user namespace", fifo: true, names: []string{"mkdir", "mkdirat"}, change: func(s *specs.Spec) {
			s.Hostname = ownedRoot
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
			s.Linux.GIDMappings = s.Linux.UIDMappings
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := startAgent(t)
			dir, root := testBundle(t, func(s *specs.Spec) {
				s.Process.Args = script
				s.Annotations = map[string]string{"a": "b"}
				s.Linux.Seccomp = notifying(a.path, tt.names...)
				if tt.change != nil {
					tt.change(s)
				}
			}), t.TempDir()
			out, in, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			opt := testOptions(root, dir, "agent")
			opt.Fifo, opt.Stdio[1], opt.Reap = tt.fifo, int(in.Fd()), true
			c, p, err := Create(opt)
			in.Close()
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := c.Delete(true); err != nil {
					t.Error(err)
				}
			}()
			want := specs.ContainerProcessState{
				Version: specs.Version, Fds: []string{"seccompFd"}, Pid: p.PID, Metadata: "for the agent",
				State: specs.State{Version: specs.Version, ID: "agent", Status: specs.StateCreating, Pid: p.PID, Bundle: dir,
					Annotations: map[string]string{"a": "b"}},
			}
			if got := next(t, a.states); !reflect.DeepEqual(got, want) {
				t.Errorf("the agent was told\n%+v\nwant\n%+v", got, want)
			}
			if tt.fifo {
				err = c.Start()
			} else {
				err = c.Release(p)
			}
			if err != nil {
				t.Fatal(err)
			}
			line := make([]byte, 200)
			out.SetReadDeadline(time.Now().Add(10 * time.Second))
			n, _ := out.Read(line)
			if !strings.Contains(string(line[:n]), "cross-device") && !strings.Contains(string(line[:n]), "Cross-device") {
				t.Errorf("mkdir said %q", line[:n])
			}
			if !a.answered("mkdir") {
				t.Error("mkdir was not answered")
			}
		})
	}
}

// answered tells whether a call of this name has been answered by now.
func (a *agent) answered(prefix string) bool {
	for {
		select {
		case name := <-a.calls:
			if strings.HasPrefix(name, prefix) {
				return true
			}
		default:
			return false
		}
	}
}

// A process that joins a container has a filter of its own, and the agent is
// told of it as of the first: its pid, and the container's state.
//
//spec:78
func TestSeccompAgentExec(t *testing.T) {
	needRoot(t)
	a := startAgent(t)
	dir, root := testBundle(t, func(s *specs.Spec) {
		s.Process.Args = []string{"/bin/sleep", "1000"}
		s.Linux.Seccomp = notifying(a.path, "mkdir", "mkdirat")
	}), t.TempDir()
	c, init, err := Create(testOptions(root, dir, "agent-exec"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Delete(true)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	next(t, a.states)
	p, err := c.Exec(ExecOptions{
		ProcessOptions: ProcessOptions{Stdio: [3]int{0, 1, 1}, Reap: true, Warn: func(*fault.Error) {}},
		Command:        Command{Args: []string{"/bin/busybox", "mkdir", "/new"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	state := next(t, a.states)
	if state.Pid != p.PID || state.State.Pid != init.PID || state.State.Status != specs.StateRunning || state.State.ID != "agent-exec" {
		t.Errorf("the agent was told %+v; the process is %d, init %d", state, p.PID, init.PID)
	}
	if err := p.Execute(); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(p.PID, &status, 0, nil); err != nil || status.ExitStatus() != 1 {
		t.Errorf("status %v, %v", status, err)
	}
	if !a.answered("mkdir") {
		t.Error("mkdir was not answered")
	}
}

// Where no agent listens, there is no container, and the entry is named.
//
//spec:78
func TestSeccompAgentMissing(t *testing.T) {
	needRoot(t)
	deaf := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(deaf, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/nowhere/agent": "no such file", deaf: "connection refused"} {
		dir, root := testBundle(t, func(s *specs.Spec) { s.Linux.Seccomp = notifying(path, "mkdir") }), t.TempDir()
		_, _, err := Create(testOptions(root, dir, "deaf"))
		if err == nil || !strings.Contains(err.Error(), "config.json /linux/seccomp/listenerPath") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := os.Stat(filepath.Join(root, "deaf")); err == nil {
			t.Error("the state directory is left")
		}
		if after := look(t, dir, "deaf"); len(after.mounts)+len(after.groups) > 0 {
			t.Errorf("left %+v", after)
		}
	}
}

// What fails under a filter that notifies, from its installation on, fails the
// creation, and nothing is left; also where the walker ends without a word.
//
//spec:78
func TestSeccompAgentStepsFail(t *testing.T) {
	needRoot(t)
	a := startAgent(t)
	dir, root := testBundle(t, func(s *specs.Spec) {
		s.Process.NoNewPrivileges = false // with a capset under the filter
		s.Linux.Seccomp = notifying(a.path, "mkdir")
	}), t.TempDir()
	fails := nsenter.Step{Call: unix.SYS_CLOSE, Args: []nsenter.Arg{nsenter.Num(1 << 20)}}
	ends := nsenter.Step{Call: unix.SYS_EXIT_GROUP, Args: []nsenter.Arg{nsenter.Num(9)}}
	tried := 0
	for at, last := 0, 1; at < last; at++ {
		for _, broken := range []nsenter.Step{fails, ends} {
			opt := testOptions(root, dir, "agent-fails")
			opt.test.program = func(p *nsenter.Program) {
				filter := slices.IndexFunc(p.Steps, func(s nsenter.Step) bool { return s.Call == unix.SYS_SECCOMP })
				last = lastBeforeReady(p) - filter
				p.Steps[filter+at] = broken
			}
			if _, _, err := Create(opt); err == nil {
				t.Errorf("step %d was not missed", at)
			}
			tried++
			if left := look(t, dir, "agent-fails"); len(left.mounts)+len(left.groups) > 0 {
				t.Errorf("step %d left %+v", at, left)
			}
			if _, err := os.Stat(filepath.Join(root, "agent-fails")); err == nil {
				t.Errorf("step %d left its state", at)
			}
		}
	}
	if tried != 6 {
		t.Errorf("%d tries, with filter, descriptor and capabilities there are 6", tried)
	}
}
