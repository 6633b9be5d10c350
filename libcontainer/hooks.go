package libcontainer

import (
	"context"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/supervise"
	"berth/libcontainer/trace"
	"berth/nsenter"
)

// hookKind is one of the six lists of hooks.
type hookKind struct {
	name  string // in config.json
	hooks []specs.Hook
}

// hookKinds lists the hooks in the order in which they run.
func hookKinds(h *specs.Hooks) []hookKind {
	return []hookKind{
		//lint:ignore SA1019 deprecated, and still used by managers
		{"prestart", h.Prestart},
		{"createRuntime", h.CreateRuntime},
		{"createContainer", h.CreateContainer},
		{"startContainer", h.StartContainer},
		{"poststart", h.Poststart},
		{"poststop", h.Poststop},
	}
}

// runHooks runs the hooks of one kind, one after the other; the first that
// fails ends it. A poststop hook that fails is only worth a warning, and the
// rest still run (runtime.md#lifecycle).
func (c *Container) runHooks(h *specs.Hooks, kind string, status specs.ContainerState) error {
	if h == nil {
		return nil
	}
	for _, k := range hookKinds(h) {
		if k.name != kind || len(k.hooks) == 0 {
			continue
		}
		trace.Phase(fault.PhaseHooks)
		for i, hook := range k.hooks {
			span := trace.Begin("hook", kind, hook.Path)
			err := c.runHook(kind, supervise.HookCall{
				Hook: hook, At: fault.Pointer("/hooks").At(kind).Index(i), State: c.hookState(status, c.pidFor(kind)), Dir: c.record.Bundle,
			})
			span.End(err)
			if err != nil && kind != "poststop" {
				return err
			}
			if err != nil {
				c.warn(fault.From(err, "hook", hook.Path))
			}
		}
	}
	return nil
}

// pidFor is init's pid for the state of a hook: as the runtime sees it, or "as
// seen by the container" for hooks in its namespaces (runtime.md#state).
func (c *Container) pidFor(kind string) int {
	if kind != "createContainer" && kind != "startContainer" || !c.hasOwn("pid") {
		return c.record.PID
	}
	raw, err := host.ReadFile("/proc/" + strconv.Itoa(c.record.PID) + "/status")
	if pid := innerPID(string(raw)); err == nil && pid != 0 {
		return pid
	}
	return c.record.PID
}

// innerPID is a process's pid in the innermost of its pid namespaces: the last
// number of the NSpid line of /proc/PID/status (proc_pid_status(5)); or 0.
func innerPID(status string) int {
	for line := range strings.Lines(status) {
		if list, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(list)
			if len(fields) == 0 {
				return 0
			}
			pid, _ := strconv.Atoi(fields[len(fields)-1])
			return pid
		}
	}
	return 0
}

// kindsOf lists the kinds of hooks that there are.
func kindsOf(h *specs.Hooks) []string {
	if h == nil {
		return nil
	}
	var out []string
	for _, k := range hookKinds(h) {
		if len(k.hooks) > 0 {
			out = append(out, k.name)
		}
	}
	return out
}

func (c *Container) warn(e *fault.Error) {
	if c.Warn != nil {
		c.Warn(e)
	}
}

func (c *Container) runHook(kind string, call supervise.HookCall) error {
	switch kind {
	case "createContainer":
		return supervise.SuperviseHook(context.Background(), call, c.hookInside(call))
	case "startContainer":
		return supervise.SuperviseHook(context.Background(), call, c.hookOfImage(call))
	}
	return supervise.RunHook(context.Background(), call)
}

// hookOfImage starts a startContainer hook. Its program is the image's, so it is one more process of the container: its
// user, capabilities, filter, labels, limits and groups are those of the container's own process.
func (c *Container) hookOfImage(call supervise.HookCall) supervise.HookStarter {
	return func(stdin, output int) (int, error) {
		target, err := c.openInit()
		if err != nil {
			return 0, err
		}
		defer target.Close()
		plan, err := c.planHook(call.Hook)
		if err != nil {
			return 0, err
		}
		group, err := c.execGroup(nil, plan.facts.Rootless(), c.Warn)
		if err != nil {
			return 0, err
		}
		process, err := c.join(plan, ProcessOptions{
			Stdio: [3]int{stdin, output, output}, Reap: true, NoSubreaper: !isSubreaper(),
		}, target, group)
		if err != nil {
			return 0, err
		}
		if err := process.Execute(); err != nil {
			return 0, err
		}
		return process.PID, process.Pidfd.Close()
	}
}

// hooksPermitted complains about hooks that an ordinary user's runtime cannot
// run: a startContainer hook is a process of the container, and nobody but who
// has CAP_SYS_PTRACE joins one whose own process has not been executed yet.
func hooksPermitted(h *specs.Hooks, facts host.Facts) error {
	if h == nil || len(h.StartContainer) == 0 || facts.Privileged() {
		return nil
	}
	return &fault.Error{Op: "hook", Path: h.StartContainer[0].Path, Field: "/hooks/startContainer/0", Errno: unix.EPERM, Phase: fault.PhasePlan,
		Msg:  "an ordinary user has no right to run it in a container that is not started yet",
		Hint: "use createContainer or poststart, or be root of a user namespace: unshare --user --map-root-user"}
}

// planHook is the container's own process with the hook's program.
func (c *Container) planHook(h specs.Hook) (*execPlan, error) {
	spec, err := c.joiningSpec()
	if err != nil {
		return nil, err
	}
	p := spec.Process
	p.Args, p.Env, p.Cwd, p.Terminal, p.ExecCPUAffinity = hookArgs(h), h.Env, "/", false, nil
	facts := host.ProbeProcess()
	facts.LSM = probeLSM(spec)
	facts.Stdio = [3]host.Stdio{} // the runtime's own, which are not the hook's
	plan, err := c.planExec(spec, facts, 0)
	if err != nil {
		return nil, err
	}
	plan.process.File = h.Path
	return plan, c.compileFilter(plan)
}

func hookArgs(h specs.Hook) []string {
	if len(h.Args) == 0 {
		return []string{h.Path}
	}
	return h.Args
}

// hookInside starts a createContainer hook, a program of the host's, in the container's namespaces: a child with a
// little program of its own.
func (c *Container) hookInside(call supervise.HookCall) supervise.HookStarter {
	return func(stdin, output int) (int, error) {
		target, err := c.openInit()
		if err != nil {
			return 0, err
		}
		defer target.Close()
		program, err := c.hookProgram(call)
		if err != nil {
			return 0, err
		}
		return startInside(program, target, stdin, output)
	}
}

// hookProgram receives a pidfd of init.
func (c *Container) hookProgram(call supervise.HookCall) (*nsenter.Program, error) {
	const init = nsenter.Reg(1)
	b := nsenter.NewBuilder(1)
	b.For(nsenter.Origin{Field: call.At, Op: "join the container's namespaces for hook", Path: call.Hook.Path, Phase: fault.PhaseHooks})
	if own := c.ownNamespaces(); own != 0 {
		b.Setns(init, own)
	}
	if c.hasOwn("user") {
		becomeRoot(b)
	}
	if c.hasOwn("pid") {
		b.Fork()
	}
	b.Append(unix.SYS_SETSID)
	b.For(nsenter.Origin{Field: call.At, Op: "hook", Path: call.Hook.Path, Phase: fault.PhaseHooks})
	b.CloseRest(0)
	b.ExecvePath(call.Hook.Path, hookArgs(call.Hook), call.Hook.Env)
	return b.Program()
}

// isSubreaper tells what this process is already, as a foreground run is.
func isSubreaper() bool {
	var on int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&on)), 0, 0, 0)
	return err == nil && on != 0
}

// startInside returns the pid of the hook, once it is executed. Where the
// program forks, the hook is an orphan that only a subreaper can wait for.
func startInside(program *nsenter.Program, target *os.File, stdin, output int) (pid int, err error) {
	if !isSubreaper() {
		if err := supervise.SetSubreaper(true); err != nil {
			return 0, err
		}
		defer supervise.SetSubreaper(false)
	}
	child, err := nsenter.Start(nsenter.Config{Stdio: [3]int{stdin, output, output}})
	if err != nil {
		return 0, err
	}
	defer child.Close()
	pid = child.PID
	if err := child.Send(program, []*os.File{target}); err != nil {
		unix.Kill(pid, unix.SIGKILL)
		child.Wait()
		return 0, err
	}
	for {
		event, err := child.Next()
		if event.PID != 0 {
			child.Wait()
			pid = event.PID
		}
		if err != nil {
			child.Close() // what failed may wait for that
			unix.Wait4(pid, nil, 0, nil)
			return 0, err
		}
		if event.End {
			return pid, nil
		}
	}
}
