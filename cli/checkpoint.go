package cli

import (
	"path/filepath"

	"github.com/urfave/cli/v2"

	"berth/libcontainer"
	"berth/libcontainer/criu"
	"berth/libcontainer/supervise"
)

// imageFlags are those of checkpoint and restore.
func imageFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "image-path", Value: "checkpoint", Usage: "`directory` of the images"},
		&cli.StringFlag{Name: "work-path", Usage: "`directory` of CRIU's logs and other files (default: that of the images)"},
		&cli.BoolFlag{Name: "tcp-established", Usage: "with open TCP connections"},
		&cli.BoolFlag{Name: "tcp-close", Usage: "close TCP connections instead of restoring them"},
		&cli.BoolFlag{Name: "ext-unix-sk", Usage: "with unix sockets that are connected to the outside"},
		&cli.BoolFlag{Name: "shell-job", Usage: "with a terminal that is not the container's"},
		&cli.BoolFlag{Name: "lazy-pages", Usage: "memory is fetched when it is used (userfaultfd)"},
		&cli.BoolFlag{Name: "file-locks", Usage: "with file locks"},
		&cli.StringFlag{Name: "manage-cgroups-mode", Usage: "what CRIU does about control groups: soft, full, strict or ignore (default: soft)"},
		&cli.StringSliceFlag{Name: "empty-ns", Usage: "leave out the content of the `network` namespace"},
		&cli.BoolFlag{Name: "auto-dedup", Usage: "remove memory from the images as soon as it is somewhere else"},
		&cli.StringFlag{Name: "network-lock", Usage: "how connections are held: iptables, nftables or skip (default: CRIU's)"},
	}
}

func (r *runner) checkpointCommand() *cli.Command {
	return &cli.Command{
		Name:      "checkpoint",
		Usage:     "write a running container to files, with CRIU, and delete it",
		ArgsUsage: "ID",
		Before:    sealDescriptors,
		Flags: append(imageFlags(),
			&cli.StringFlag{Name: "parent-path", Usage: "`directory` of the dump before, relative to --image-path: only what has changed is written"},
			&cli.BoolFlag{Name: "leave-running", Usage: "the container goes on, and is not deleted"},
			&cli.BoolFlag{Name: "tcp-skip-in-flight", Usage: "leave out connections that are being established"},
			&cli.BoolFlag{Name: "link-remap", Usage: "with files that are deleted and have another link"},
			&cli.IntFlag{Name: "status-fd", Value: -1, Usage: "write a NUL to this `descriptor` when lazy pages can be had"},
			&cli.StringFlag{Name: "page-server", Usage: "send memory to the page server at `ADDRESS:PORT`"},
			&cli.BoolFlag{Name: "pre-dump", Usage: "write the memory only, while the container runs: a parent of later dumps"},
		),
		Action: func(c *cli.Context) error {
			opt, err := checkpointOptions(c)
			if err != nil {
				return err
			}
			return r.with(c, func(container *libcontainer.Container) error { return container.Checkpoint(opt) })
		},
	}
}

func checkpointOptions(c *cli.Context) (opt libcontainer.CheckpointOptions, err error) {
	if opt.Options, err = imageOptions(c); err != nil {
		return opt, err
	}
	if opt.PageServer, err = criu.ParsePageServer(c.String("page-server")); err != nil {
		return opt, err
	}
	opt.Parent, opt.PreDump, opt.LeaveRunning = c.String("parent-path"), c.Bool("pre-dump"), c.Bool("leave-running")
	opt.TCPSkipInFlight, opt.LinkRemap = c.Bool("tcp-skip-in-flight"), c.Bool("link-remap")
	opt.StatusFD = c.Int("status-fd")
	return opt, nil
}

// imageOptions reads imageFlags.
func imageOptions(c *cli.Context) (opt criu.Options, err error) {
	if opt.Images, err = filepath.Abs(c.String("image-path")); err != nil {
		return opt, err
	}
	if work := c.String("work-path"); work != "" {
		if opt.Work, err = filepath.Abs(work); err != nil {
			return opt, err
		}
	}
	if opt.Cgroups, err = criu.ParseCgroupMode(c.String("manage-cgroups-mode")); err != nil {
		return opt, err
	}
	if opt.NetworkLock, err = criu.ParseNetworkLock(c.String("network-lock")); err != nil {
		return opt, err
	}
	if opt.EmptyNS, err = criu.ParseEmptyNS(c.StringSlice("empty-ns")); err != nil {
		return opt, err
	}
	opt.TCPEstablished, opt.TCPClose = c.Bool("tcp-established"), c.Bool("tcp-close")
	opt.ExtUnixSockets, opt.ShellJob = c.Bool("ext-unix-sk"), c.Bool("shell-job")
	opt.LazyPages, opt.FileLocks, opt.AutoDedup = c.Bool("lazy-pages"), c.Bool("file-locks"), c.Bool("auto-dedup")
	return opt, nil
}

func (r *runner) restoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "make a container of the files of a checkpoint, with CRIU, and wait for its process",
		ArgsUsage: "ID",
		Before:    sealDescriptors,
		Flags: append(imageFlags(),
			bundleFlag(),
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "return when the process runs; delete is up to you"},
			&cli.StringFlag{Name: "pid-file", Usage: "write the process's pid to this `file`"},
			&cli.StringFlag{Name: "console-socket", Usage: "`socket` that takes the process's terminal"},
			&cli.BoolFlag{Name: "no-subreaper", Usage: "do not adopt what the container's process leaves behind"},
			&cli.BoolFlag{Name: "no-pivot", Usage: "move the root instead of pivot_root (CRIU decides; accepted for managers)"},
			&cli.StringFlag{Name: "lsm-profile", Usage: "security `TYPE:PROFILE` of the processes instead of the one at checkpoint"},
			&cli.StringFlag{Name: "lsm-mount-context", Usage: "SELinux `context` of the mounts instead of the one at checkpoint"},
		),
		Action: r.restore,
	}
}

func (r *runner) restore(c *cli.Context) error {
	create, err := r.createOptions(c)
	if err != nil {
		return err
	}
	create.Detach = c.Bool("detach")
	create.Reap = !create.Detach
	create.NoSubreaper = c.Bool("no-subreaper")
	create.Notify = false // what the process had, the images say
	opt := libcontainer.RestoreOptions{CreateOptions: create}
	if opt.CRIU.Options, err = imageOptions(c); err != nil {
		return err
	}
	opt.CRIU.LSMProfile, opt.CRIU.LSMMountContext = c.String("lsm-profile"), c.String("lsm-mount-context")
	signals, err := supervise.NewSignals()
	if err != nil {
		return err
	}
	defer signals.Stop()
	container, process, err := libcontainer.Restore(opt)
	if err != nil {
		return err
	}
	defer container.Unlock()
	return r.attend(container, create, c.Bool("keep"), func() (supervise.ExitStatus, error) {
		return r.accompany(process, signals, create.Detach, nil, func() error {
			container.Yield()
			return nil
		})
	})
}
