/**
 * A graphics card in software for tests of ggml's Vulkan: Mesa's lavapipe, unpacked from Debian's packages without root, and ggml's
 * library, which doctor's installer brings. Both lie in the git-ignored cache.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const cache = path.resolve(import.meta.dirname, '../../.cache');

/** With what it needs beyond a C library, in Debian 12; those of later systems load them too. */
const packages =
  'mesa-vulkan-drivers libvulkan1 libllvm15 libz3-4 libdrm2 libdrm-amdgpu1 libedit2 libelf1 libbsd0 libmd0 libxml2 libicu72 libwayland-client0 libx11-xcb1 libxcb-dri3-0 libxcb-present0 libxcb-randr0 libxcb-shm0 libxcb-sync1 libxcb-xfixes0 libxcb1 libxau6 libxdmcp6 libxshmfence1 libffi8 libexpat1 libzstd1 libtinfo6 zlib1g liblzma5'.split(
    ' ',
  );

/** The environment in which a process finds it from its start, or null (with a message) if it cannot be had. */
export async function lavapipe(): Promise<Record<string, string> | null> {
  try {
    const folder = unpackDriver();
    const library = path.join(folder, 'usr/lib/x86_64-linux-gnu');
    const environment = {
      EARLY_EXIT_CACHE: path.join(cache, 'ggml'),
      LD_LIBRARY_PATH: `${library}:${path.join(folder, 'lib/x86_64-linux-gnu')}`,
      VK_ICD_FILENAMES: path.join(folder, 'lavapipe.json'),
      MESA_SHADER_CACHE_DIR: path.join(cache, 'lavapipe-shaders'),
      // ggml leaves devices that compute on the CPU aside unless they are named.
      GGML_VK_VISIBLE_DEVICES: '0',
      // Its programs run where they are submitted: threads of its own would share the processors with ggml, which waits awake.
      LP_NUM_THREADS: '0',
      // ggml then sleeps until the card is done. Awake it would take as much of the processor as the card, whose programs are compiled meanwhile.
      GGML_VK_SERIALIZE_SUBMISSIONS: '1',
      // Products in 32 bits, which can be compared closely, and fewer programs to compile.
      GGML_VK_DISABLE_F16: '1',
    };
    bringLibrary(environment);
    return environment;
  } catch (error) {
    console.warn(`Skipped: there is no lavapipe for Vulkan. ${String(error).split('\n')[0]!}`);
    return null;
  }
}

function unpackDriver(): string {
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('Its packages are for Linux on x64.');
  const folder = path.join(cache, 'lavapipe');
  if (existsSync(path.join(folder, 'lavapipe.json'))) return folder;
  const building = `${folder}.${process.pid}`;
  const apt = path.join(building, 'apt');
  for (const each of ['lists/partial', 'archives/partial']) mkdirSync(path.join(apt, each), { recursive: true });
  try {
    writeFileSync(path.join(apt, 'sources.list'), 'deb http://deb.debian.org/debian bookworm main\n');
    const settings = [
      `Dir::Etc::sourcelist=${path.join(apt, 'sources.list')}`,
      'Dir::Etc::sourceparts=/dev/null',
      `Dir::State::lists=${path.join(apt, 'lists')}`,
      `Dir::Cache=${apt}`,
      'Dir::State::status=/dev/null',
      'APT::Architecture=amd64',
    ].flatMap((each) => ['-o', each]);
    const run = (command: string, args: readonly string[]): Buffer =>
      execFileSync(command, args, { cwd: apt, timeout: 300_000, stdio: ['ignore', 'pipe', 'pipe'] });
    run('apt-get', [...settings, 'update']);
    run('apt-get', [...settings, 'download', ...packages]);
    for (const file of readdirSync(apt).filter((name) => name.endsWith('.deb')))
      run('dpkg-deb', ['-x', file, building]);
    rmSync(apt, { recursive: true });
    const icd = { file_format_version: '1.0.0', ICD: { library_path: 'libvulkan_lvp.so', api_version: '1.1.230' } };
    writeFileSync(path.join(building, 'lavapipe.json'), JSON.stringify(icd));
    if (!existsSync(folder)) renameSync(building, folder);
    return folder;
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
}

/** By the installer that users have, in a process that finds the driver. */
function bringLibrary(environment: Record<string, string>): void {
  if (
    existsSync(path.join(cache, 'ggml')) &&
    readdirSync(path.join(cache, 'ggml')).some((name) => /^ggml-vulkan-[\d.]+$/.test(name))
  )
    return;
  const command = path.resolve(import.meta.dirname, '../../backend/cli/main.ts');
  execFileSync(process.execPath, ['--import', 'tsx', command, 'doctor', '--install', 'vulkan'], {
    env: { ...process.env, ...environment },
    timeout: 300_000,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}
