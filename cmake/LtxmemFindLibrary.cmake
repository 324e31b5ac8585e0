# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# What the find modules here have in common.

include(FindPackageHandleStandardArgs)

# ltxmem_find_library(NAME HEADER VERSION_HEADER VERSION_PREFIX [IN_TOOLKIT]): finds the library that is called NAME in
# small letters and defines NAME::name. Its version is what VERSION_PREFIX_MAJOR, _MINOR and _PATCH or _PATCHLEVEL are
# defined as in VERSION_HEADER. IN_TOOLKIT: the folders of the CUDA toolkit are looked at too. A target that a parent
# project already made is taken as it is. A macro, because the variables are those of the find module.
macro(ltxmem_find_library name header version_header version_prefix)
  string(TOLOWER "${name}" ltxmem_library)
  if(TARGET ${name}::${ltxmem_library})
    set(${name}_FOUND TRUE)
    return()
  endif()

  if("${ARGN}" STREQUAL IN_TOOLKIT)
    find_path(${name}_INCLUDE_DIR ${header} HINTS ${CUDAToolkit_INCLUDE_DIRS})
    find_library(${name}_LIBRARY ${ltxmem_library} HINTS ${CUDAToolkit_LIBRARY_DIR})
  else()
    find_path(${name}_INCLUDE_DIR ${header})
    find_library(${name}_LIBRARY ${ltxmem_library})
  endif()
  mark_as_advanced(${name}_INCLUDE_DIR ${name}_LIBRARY)

  if(${name}_INCLUDE_DIR)
    file(STRINGS "${${name}_INCLUDE_DIR}/${version_header}" ${name}_VERSION
         REGEX "^#define ${version_prefix}_(MAJOR|MINOR|PATCH|PATCHLEVEL) +[0-9]+")
    list(TRANSFORM ${name}_VERSION REPLACE "^.* " "")
    list(JOIN ${name}_VERSION "." ${name}_VERSION)
  endif()

  find_package_handle_standard_args(${name} REQUIRED_VARS ${name}_LIBRARY ${name}_INCLUDE_DIR
                                    VERSION_VAR ${name}_VERSION)

  if(${name}_FOUND)
    add_library(${name}::${ltxmem_library} UNKNOWN IMPORTED)
    set_target_properties(${name}::${ltxmem_library} PROPERTIES
      IMPORTED_LOCATION "${${name}_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${${name}_INCLUDE_DIR}")
  endif()
endmacro()
